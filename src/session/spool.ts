import type { Redis, RedisArgument } from '../redis/redis.js';
import { Shared, isMessage, type Copies } from '../stream/outbox.js';
import type { Registry } from './registry.js';
import type { Session } from './session.js';

/** Fields that one command writes or removes at most. */
const FIELDS = 500;
/** How long a command is tried, in milliseconds: whoever waits in vain for Redis would fill the memory with what waits behind. */
const PATIENCE_MS = 1_000;

export interface SpoolOptions {
  redis: Redis;
  /** This worker, and its epoch at the moment. */
  self: number;
  epoch(): number;
  registry: Registry;
}

/**
 * Copies in Redis of the messages that wait in this worker for resumable sessions (XEP-0198 §5), until their clients acknowledge them:
 * when it is killed, whoever cleans up after it routes them anew (see spool-cleaning.ts).
 * Notifications are not among them, for they can be fetched; nor requests, whose senders wait in vain.
 *
 * One hash for each worker and epoch: session and position in its outbox → full JID and stanza. What is written is on its way at the
 * end of the tick, or when Redis has answered what was before it; of what changed until then the last counts. While Redis is away
 * nothing is written, and all is when it is back.
 */
export class Spool {
  /** Undefined: to be removed. */
  private changes = new Map<string, Buffer | undefined>();
  /** All is written anew. */
  private anew = false;
  private scheduled = false;
  private closed = false;
  /** What there is stays for whoever cleans up after this worker. */
  private kept = false;
  /** Nothing of this worker is in Redis any more. */
  removed = false;
  private writing: Promise<void> | undefined;
  /** Where it is written, once it was: one epoch's, until all that is of this worker is written anew for the next. */
  private key: string | undefined;
  /** Of epochs that are over, to be removed when that is done. */
  private readonly former = new Set<string>();

  constructor(private readonly options: SpoolOptions) {
    options.redis.onState((up) => up && void this.again());
  }

  /** A stanza of its own is about to take its place in the outbox of a resumable session. */
  queued(session: Session, stanza: Shared): void {
    if (!isMessage(stanza)) return;
    this.keep(session, session.outbox.next, stanza);
    // What is acknowledged soon is not read again when this worker is killed, and takes no memory.
    session.outbox.request();
  }

  /** All that waits for the session: it is resumable from here on, or has come from another worker. */
  adopt(session: Session): void {
    session.spooled = [];
    this.waiting(session);
  }

  /** Its client has acknowledged something. */
  acknowledged(session: Session): void {
    const { spooled, outbox } = session;
    if (spooled === undefined || spooled.length === 0) return;
    const kept = spooled.findIndex((position) => position >= outbox.first);
    for (const position of spooled.splice(0, kept < 0 ? spooled.length : kept)) this.remove(session, position);
  }

  /** It has ended, or is at another worker. */
  forget(session: Session): void {
    for (const position of session.spooled ?? []) this.remove(session, position);
    session.spooled = undefined;
  }

  /** Others may have removed what this worker had written, or it was not written: all is. */
  again(): Promise<void> {
    if (this.closed) return this.removeAll();
    if (this.key === undefined && this.former.size === 0) return this.flush();
    this.changes.clear();
    for (const session of this.options.registry.all()) {
      if (session.spooled === undefined) continue;
      session.spooled = [];
      this.waiting(session);
    }
    this.anew = true;
    return this.flush();
  }

  /** This worker was taken for dead, and has come again with all that it had. */
  renewed(): Promise<void> {
    if (this.key !== undefined) this.former.add(this.key);
    this.key = undefined;
    return this.again();
  }

  /** Nothing of this worker stays in Redis; unless it is to be kept, for whoever cleans up after this worker. */
  async close(keep = false): Promise<void> {
    this.closed = true;
    this.changes.clear();
    await this.writing;
    this.kept = keep;
    await this.removeAll();
  }

  private async removeAll(): Promise<void> {
    if (this.kept) return;
    const keys = [this.key, ...this.former].filter((key) => key !== undefined);
    const removed = await Promise.all(
      keys.map((key) => this.command(key, 'UNLINK', [], this.options.redis.patienceMs)),
    );
    this.removed = !removed.includes(false);
  }

  private waiting(session: Session): void {
    const { outbox } = session;
    for (let position = outbox.first; position !== outbox.next; position++) {
      const entry = outbox.at(position);
      if (entry !== undefined && entry.head === undefined && isMessage(entry.shared)) {
        this.keep(session, position, entry.shared);
      }
    }
  }

  private keep(session: Session, position: number, stanza: Shared): void {
    session.spooled!.push(position);
    this.changes.set(field(session, position), packed(session.jid.full, stanza));
    this.schedule();
  }

  private remove(session: Session, position: number): void {
    this.changes.set(field(session, position), undefined);
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled || this.closed) return;
    this.scheduled = true;
    setImmediate(() => void this.flush());
  }

  /** Resolves when all changes so far are written, or were given up. */
  private flush(): Promise<void> {
    this.scheduled = false;
    if (this.writing === undefined && (this.anew || this.changes.size > 0)) this.writing = this.write();
    return this.writing ?? Promise.resolve();
  }

  /** One after the other: what is removed must not come back by a command that was tried again. */
  private async write(): Promise<void> {
    while (this.anew || this.changes.size > 0) {
      const { changes, anew } = this;
      const { redis, self, epoch } = this.options;
      const key = (this.key ??= spoolKey(redis, self, epoch()));
      this.changes = new Map();
      this.anew = false;
      if (anew) await this.command(key, 'UNLINK', []);
      await Promise.all(commands(changes).map(([name, args]) => this.command(key, name, args)));
      if (!anew) continue;
      for (const one of [...this.former]) if (await this.command(one, 'UNLINK', [])) this.former.delete(one);
    }
    this.writing = undefined;
  }

  /** False when Redis is away, which others say; all is written again when it is back. */
  private async command(
    key: string,
    name: string,
    args: readonly RedisArgument[],
    patienceMs = PATIENCE_MS,
  ): Promise<boolean> {
    try {
      await this.options.redis.call(name, [key, ...args], { patienceMs });
      return true;
    } catch {
      return false;
    }
  }
}

/** HASH: what that incarnation of a worker keeps copies of. */
export function spoolKey({ prefix }: Pick<Redis, 'prefix'>, worker: number, epoch: number): string {
  return `${prefix}:spool:${epoch}:{w${worker}}`;
}

/** STRING: which copy of a message was the first to find another way. */
export function copyKey({ prefix }: Pick<Redis, 'prefix'>, { key }: Copies): string {
  return `${prefix}:spool:copy:{${key}}`;
}

/** What writes and removes those fields. */
function commands(changes: ReadonlyMap<string, Buffer | undefined>): [name: string, args: RedisArgument[]][] {
  const written: RedisArgument[][] = [[]];
  const removed: RedisArgument[][] = [[]];
  for (const [name, value] of changes) {
    const lists = value === undefined ? removed : written;
    let list = lists[lists.length - 1]!;
    if (list.length >= 2 * FIELDS) lists.push((list = []));
    if (value === undefined) list.push(name);
    else list.push(name, value);
  }
  const found: [string, RedisArgument[]][] = [];
  for (const fields of written) if (fields.length > 0) found.push(['HSET', fields]);
  for (const fields of removed) if (fields.length > 0) found.push(['HDEL', fields]);
  return found;
}

function field({ id }: Session, position: number): string {
  return `${id}:${position}`;
}

/** Whose it is, and where in the outbox. */
export function named(name: string): { session: string; position: number } {
  const colon = name.lastIndexOf(':');
  return { session: name.slice(0, colon), position: Number(name.slice(colon + 1)) };
}

/** Full JID, copies (JSON) and when it was queued, each behind its length (u16), and the stanza. */
function packed(full: string, { bytes, copies, since }: Shared): Buffer {
  const fields = [full, copies === undefined ? '' : JSON.stringify(copies), String(since ?? '')];
  const parts = fields.flatMap((text) => {
    const field = Buffer.from(text);
    return [Buffer.of(field.length & 0xff, field.length >> 8), field];
  });
  return Buffer.concat([...parts, bytes]);
}

export function unpacked(value: Buffer): { full: string; stanza: Shared } {
  let at = 0;
  const field = (): string => value.toString('utf8', at + 2, (at += 2 + value.readUInt16LE(at)));
  const [full, copied, queued] = [field(), field(), field()];
  const copies = copied === '' ? undefined : (JSON.parse(copied) as Copies);
  const since = queued === '' ? undefined : Number(queued);
  return { full, stanza: new Shared(value.subarray(at), undefined, false, copies, since) };
}
