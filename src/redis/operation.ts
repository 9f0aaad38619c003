import { createHash } from 'node:crypto';
import { Command } from './command.js';
import type { Connection } from './connection.js';
import { Unreplicated } from './faults.js';
import type { Invocation, RedisArgument, Script } from './redis.js';
import type { Servers } from './servers.js';

/** What an operation asks of the link. */
export interface Owner {
  replied(operation: Operation, reply: unknown): void;
  failed(operation: Operation, error: Error): void;
}

let last = 0;

/** What is to last on replicas too. */
export interface Replicated {
  /** How many replicas more than wanted have what was sent before on that connection; undefined when it broke. */
  replicated(connection: Connection, more: number | undefined): void;
}

/** A script as it is asked for. */
export interface Code {
  source: string;
  sha: string;
}

/** A command or script, through all its attempts. */
export class Operation extends Command implements Replicated {
  /** Where it was sent last. */
  connection: Connection | undefined;
  /** Where it is sent next in spite of its slot, after `ASKING`. */
  asking: Connection | undefined;
  attempts = 0;
  /** Not to be tried again before (the link's clock). */
  due = 0;
  /** Why it was not done last. */
  reason = 'no connection';
  settled = false;
  /** See {@link CallOptions.prompt}. */
  prompt = false;
  /** The answer of an operation that is to be replicated yet. */
  private reply: unknown;
  /** In the order of the calls. */
  readonly number = ++last;

  constructor(
    private readonly owner: Owner,
    readonly servers: Servers,
    /** For metrics and errors. */
    readonly label: string,
    readonly slot: number,
    private script: Code | undefined,
    name: string,
    args: RedisArgument[],
    /** How long it may be tried, and until when (the link's clock). */
    readonly patience: number,
    readonly deadline: number,
    /** performance.now */
    readonly since: number,
    /** How many replicas must have it. */
    private readonly replicas: number,
    private readonly onAgain: (() => Invocation | void) | undefined,
    readonly done: (reply: unknown) => void,
    readonly fail: (error: Error) => void,
  ) {
    super(name, args);
  }

  get keys(): readonly RedisArgument[] {
    return this.script === undefined ? this.args.slice(0, 1) : this.args.slice(2, 2 + Number(this.args[1]));
  }

  /** It may have been done, and is done again. */
  again(): void {
    const instead = this.onAgain?.();
    if (!instead) return;
    this.script = codeOf(instead.script);
    this.args = argumentsOf(instead);
  }

  /** That server does not know the script. */
  forget(connection: Connection): void {
    connection.scripts.delete(this.script?.sha ?? '');
  }

  send(connection: Connection): void {
    this.connection = connection;
    this.attempts++;
    const { script } = this;
    if (script !== undefined) {
      const known = connection.scripts.has(script.sha);
      if (!known) connection.scripts.add(script.sha);
      this.name = known ? 'EVALSHA' : 'EVAL';
      (this.args as RedisArgument[])[0] = known ? script.sha : script.source;
    }
    if (this.asking !== undefined) connection.asking();
    this.asking = undefined;
    connection.send(this);
    if (this.prompt) connection.promptly();
    if (this.replicas > 0) connection.replicate(this);
  }

  resolve(reply: unknown): void {
    this.connection!.answered();
    if (this.settled) return;
    if (this.replicas > 0) this.reply = reply;
    else this.owner.replied(this, reply);
  }

  replicated(connection: Connection, more: number | undefined): void {
    const { reply } = this;
    if (this.settled || reply === undefined || connection !== this.connection) return;
    this.reply = undefined;
    if (more !== undefined && more >= 0) this.owner.replied(this, reply);
    else this.owner.failed(this, new Unreplicated((more ?? -this.replicas) + this.replicas, this.replicas));
  }

  reject(error: Error): void {
    this.connection!.answered();
    if (!this.settled) this.owner.failed(this, error);
  }
}

const shas = new WeakMap<Script, string>();

export function codeOf(script: Script): Code {
  return { source: script.source, sha: shaOf(script) };
}

/** What follows `EVALSHA`; the first is the SHA or the source. */
export function argumentsOf({ keys, args }: Omit<Invocation, 'script'>): RedisArgument[] {
  return ['', keys.length, ...keys, ...args];
}

function shaOf(script: Script): string {
  let sha = shas.get(script);
  if (sha === undefined) {
    sha = createHash('sha1').update(script.source).digest('hex');
    shas.set(script, sha);
  }
  return sha;
}
