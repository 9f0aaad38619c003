import type { Socket } from 'node:net';
import { Redis as Client } from 'ioredis';
import { redisCounters } from '../metrics/redis.js';
import { type Command, Question, Remark, Sink } from './command.js';
import { faultOf } from './faults.js';
import { Outbound } from './outbound.js';
import type { Replicated } from './operation.js';
import type { RedisArgument } from './redis.js';
import { type Address, type Settings, STUCK_MS, clientOptions, written } from './settings.js';

/** How long replicas may take, in milliseconds. */
const WAIT_MS = 1000;

/** What a connection tells to whoever holds it. */
export interface ConnectionEvents {
  /** `usable` or `fault` changed. */
  changed(connection: Connection): void;
}

/**
 * A connection to one server, or to the master that the Sentinels know, which connects again by itself. Commands of one tick
 * leave in one write.
 *
 * A command that was sent on a connection that broke may still lie in that server's buffers. Therefore the next connection
 * first has the server kill the one before: what was not done by then is never done, and trying again is in order.
 */
export class Connection {
  /** host:port; behind Sentinels that of the master once it is known, until then the first of theirs. */
  address: string;
  /** It stands, and the server is ready. */
  usable = false;
  /** Why the server refused a command that it may take later; stays until a probe goes through. */
  fault: string | undefined;
  /** Scripts that this server is known to have, by SHA. */
  readonly scripts = new Set<string>();
  private readonly client: Client;
  private readonly outbound = new Outbound();
  private prompt = false;
  private readonly sink = new Sink(this.outbound);
  /** Where it goes at the end of the tick. */
  private writing: Socket | undefined;
  /** Of this tick, what must be replicated. */
  private replicating: Replicated[] = [];
  /** Commands without an answer. */
  private unanswered = 0;
  /** Milliseconds without a byte from the server while it owes answers, or the handshake. */
  private quiet = 0;
  private bytesRead = 0;
  /** Who we were to which incarnation of the server. */
  private id: number | undefined;
  private run: string | undefined;

  constructor(
    private readonly settings: Settings,
    address: Address | undefined,
    private readonly events: ConnectionEvents,
  ) {
    this.address = written(address ?? settings.addresses[0]!);
    this.client = new Client(clientOptions(settings, address));
    this.client.on('ready', () => void this.greet());
    this.client.on('close', () => this.broke());
    // Why it broke shows in what the commands are answered.
    this.client.on('error', () => undefined);
    this.client.connect().catch(() => undefined);
  }

  send(command: Command): void {
    this.unanswered++;
    this.schedule();
    this.sink.send(this.client, command);
  }

  /** To be called once for each command that was sent, when ioredis settles it. */
  answered(): void {
    this.unanswered--;
  }

  async ask(name: string, args: readonly RedisArgument[]): Promise<unknown> {
    const question = new Question(name, args);
    this.send(question);
    try {
      return await question.answer;
    } finally {
      this.answered();
    }
  }

  /** Sends `ASKING` in front of the command that follows. */
  asking(): void {
    this.schedule();
    this.sink.send(this.client, new Remark('ASKING', []));
  }

  /** What is sent in this tick is written at its end. */
  private schedule(): void {
    const { stream } = this.client;
    if (this.writing === stream) return;
    // What was meant for a connection that broke is sent again by those who sent it.
    this.outbound.take();
    this.writing = stream;
    setImmediate(() => this.written(stream));
  }

  /** What is sent in this tick so far is written as soon as what runs now has returned. */
  promptly(): void {
    const { writing } = this;
    if (this.prompt || writing === undefined) return;
    this.prompt = true;
    process.nextTick(() => {
      this.prompt = false;
      this.written(writing);
    });
  }

  private written(stream: Socket): void {
    if (this.writing !== stream) return;
    if (this.replicating.length > 0) this.wait();
    this.writing = undefined;
    this.write(stream);
  }

  private write(stream: Socket): void {
    const pieces = this.outbound.take();
    if (pieces.length > 1) stream.cork();
    for (const piece of pieces) stream.write(piece);
    if (pieces.length > 1) stream.uncork();
    if (stream.writableLength === 0) this.outbound.reuse();
  }

  /** What was sent counts when the replicas have it; they are waited for once in a tick. */
  replicate(operation: Replicated): void {
    this.replicating.push(operation);
  }

  private wait(): void {
    const waiting = this.replicating;
    const { replicas } = this.settings;
    this.replicating = [];
    this.ask('WAIT', [replicas, WAIT_MS]).then(
      (count) => {
        for (const operation of waiting) operation.replicated(this, Number(count) - replicas);
      },
      () => {
        for (const operation of waiting) operation.replicated(this, undefined);
      },
    );
  }

  private async greet(): Promise<void> {
    this.scripts.clear();
    const { remoteAddress: host, remotePort: port } = this.client.stream;
    if (this.settings.kind === 'sentinel' && host !== undefined) this.address = written({ host, port: port! });
    const before = this.id;
    let run: string | undefined;
    try {
      const [info, id] = await Promise.all([this.optional('INFO', ['server']), this.optional('CLIENT', ['ID'])]);
      run = /run_id:(\w+)/.exec(String(info))?.[1];
      if (run !== undefined && run === this.run && before !== undefined)
        await this.optional('CLIENT', ['KILL', 'ID', before]);
      this.id = id as number | undefined;
      this.run = run;
    } catch {
      return;
    }
    this.usable = true;
    this.events.changed(this);
  }

  /** Undefined where the server refuses it: users may be allowed no more than they need. */
  private async optional(name: string, args: RedisArgument[]): Promise<unknown> {
    try {
      return await this.ask(name, args);
    } catch (error) {
      if (faultOf(error as Error).kind === 'lost') throw error;
      return undefined;
    }
  }

  /** The connection does not stand any more; ioredis makes another. */
  broke(): void {
    this.quiet = 0;
    if (!this.usable) return;
    this.usable = false;
    redisCounters.lost++;
    this.events.changed(this);
  }

  /** Connects anew, to ask who the master is. */
  renew(): void {
    if (this.client.status === 'ready') this.client.disconnect(true);
  }

  /** The server owes answers, or the handshake. */
  get owed(): boolean {
    return this.unanswered > 0 || this.client.status === 'connect';
  }

  /** `elapsed` milliseconds went by in which this process had time to read. */
  tick(elapsed: number): void {
    const { stream } = this.client;
    if (!this.owed || stream === undefined || stream.bytesRead !== this.bytesRead) {
      this.quiet = 0;
      this.bytesRead = stream?.bytesRead ?? 0;
      return;
    }
    this.quiet += elapsed;
    if (this.quiet >= STUCK_MS) {
      this.quiet = 0;
      stream.destroy(new Error(`no answer within ${STUCK_MS} ms`));
    }
  }

  close(): void {
    this.usable = false;
    this.client.disconnect();
  }
}
