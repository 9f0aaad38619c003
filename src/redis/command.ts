import type { Command as ClientCommand, Redis as Client } from 'ioredis';
import type { RedisArgument } from './redis.js';
import { Outbound } from './outbound.js';

/**
 * One command on its way through ioredis. It is what ioredis asks of its own commands and no more: theirs cost a promise and
 * three copies each.
 */
export abstract class Command {
  /** What ioredis would otherwise trace, and abort as a part of a transaction or of a pipeline. */
  readonly isTraced = true;
  readonly inTransaction = false;
  readonly pipelineIndex = undefined;
  readonly promise = undefined;

  constructor(
    public name: string,
    public args: readonly RedisArgument[],
  ) {}

  abstract resolve(reply: unknown): void;
  abstract reject(error: Error): void;

  /** ioredis hands it what it was given as a stream, and writes there what this returns. */
  toWritable(sink: Sink): void {
    sink.outbound.add(this.name, this.args);
  }
}

/** A command whose answer somebody awaits, on this connection and no other. */
export class Question extends Command {
  readonly answer: Promise<unknown>;
  resolve!: (reply: unknown) => void;
  reject!: (error: Error) => void;

  constructor(name: string, args: readonly RedisArgument[]) {
    super(name, args);
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** A command whose answer does not matter. */
export class Remark extends Command {
  resolve(): void {}
  reject(): void {}
}

/** Takes commands through ioredis, which keeps account of them, and gathers what is to be written. */
export class Sink {
  constructor(readonly outbound: Outbound) {}

  send(client: Client, command: Command): void {
    client.sendCommand(command as unknown as ClientCommand, this as never);
  }

  /** ioredis writes here what {@link Command.toWritable} returns: nothing. */
  write(): void {}
}

/** Bytes that a single command mostly takes. */
const SINGLE = 512;

/** Sends a command at once, alone. */
export function sendAlone(client: Client, command: Command): void {
  const outbound = new Outbound(SINGLE);
  new Sink(outbound).send(client, command);
  for (const piece of outbound.take()) client.stream.write(piece);
}
