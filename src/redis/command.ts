import type { Command as ClientCommand } from 'ioredis';
import type { RedisArgument } from './redis.js';
import { encode } from './resp.js';

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

  toWritable(): string | Buffer {
    return encode(this.name, this.args);
  }

  get asClientCommand(): ClientCommand {
    return this as unknown as ClientCommand;
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
