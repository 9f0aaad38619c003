import type { Logger } from 'pino';
import type { JidCache } from '../jid/jid.js';
import type { Redis, RedisArgument } from '../redis/redis.js';
import type { Registry } from './registry.js';
import type { Router } from './router.js';
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
  jids: JidCache;
  router: Router;
  log: Logger;
}

/**
 * Copies in Redis of the messages that wait in this worker for resumable sessions (XEP-0198 §5), until their clients acknowledge them:
 * when it is killed, whoever cleans up after it routes them anew, as it would have done itself at the end of the sessions (§4).
 * Notifications are not among them, for they can be fetched; nor requests, whose senders wait in vain.
 *
 * One hash for each worker: session and position in its outbox → full JID and stanza. What is written is on its way at the end of the
 * tick; while Redis is away nothing is, and all is written again when it is back.
 */
export class Spool {
  /** Undefined: to be removed. */
  private changes = new Map<string, Buffer | undefined>();
  private scheduled = false;
  private closed = false;
  private writing: Promise<void> = Promise.resolve();

  constructor(private readonly options: SpoolOptions) {
    options.redis.onState((up) => up && void this.again());
  }

  /** A stanza of its own is about to take its place in the outbox of a resumable session. */
  queued(session: Session, stanza: Buffer): void {
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
    for (const session of this.options.registry.all()) {
      if (session.spooled === undefined) continue;
      session.spooled = [];
      this.waiting(session);
    }
    this.writing = this.writing.then(() => this.command('UNLINK', []));
    return this.flush();
  }

  /** A dead worker's messages find another way. Done again elsewhere when this worker dies over it. */
  async cleanUp(worker: number, epoch: number): Promise<void> {
    const { redis, router, jids, log } = this.options;
    const key = this.key(worker, epoch);
    const found: { session: string; position: number; full: string; stanza: Buffer }[] = [];
    let cursor = '0';
    do {
      const page = (await redis.call('HSCAN', [key, cursor, 'COUNT', FIELDS])) as [Buffer, Buffer[]];
      for (let i = 0; i < page[1].length; i += 2) found.push({ ...named(page[1][i]!), ...unpacked(page[1][i + 1]!) });
      cursor = String(page[0]);
    } while (cursor !== '0');
    if (found.length === 0) return;
    found.sort((a, b) => (a.session === b.session ? a.position - b.position : a.session < b.session ? -1 : 1));
    for (const { full, stanza } of found) {
      const jid = jids.get(full);
      if (jid !== undefined) router.reroute(jid, [stanza]);
    }
    log.info({ worker, messages: found.length }, 'messages that a dead worker had not got rid of were routed anew');
    await redis.call('UNLINK', [key]);
  }

  /** Nothing of this worker stays in Redis. */
  async close(): Promise<void> {
    await this.flush();
    this.closed = true;
    await this.command('UNLINK', []);
  }

  private waiting(session: Session): void {
    const { outbox } = session;
    for (let position = outbox.first; position !== outbox.next; position++) {
      const entry = outbox.at(position);
      if (entry !== undefined && entry.head === undefined && isMessage(entry.shared.bytes)) {
        this.keep(session, position, entry.shared.bytes);
      }
    }
  }

  private keep(session: Session, position: number, stanza: Buffer): void {
    session.spooled!.push(position);
    this.changes.set(field(session, position), packed(session.jid.full, stanza));
    this.schedule();
  }

  private remove(session: Session, position: number): void {
    this.changes.set(field(session, position), undefined);
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => void this.flush());
  }

  /** Resolves when all changes so far are written, or were given up. */
  private flush(): Promise<void> {
    this.scheduled = false;
    const { changes } = this;
    if (changes.size === 0 || this.closed) return this.writing;
    this.changes = new Map();
    const written: RedisArgument[][] = [[]];
    const removed: RedisArgument[][] = [[]];
    for (const [name, value] of changes) {
      const lists = value === undefined ? removed : written;
      let list = lists[lists.length - 1]!;
      if (list.length >= 2 * FIELDS) lists.push((list = []));
      if (value === undefined) list.push(name);
      else list.push(name, value);
    }
    const commands: [string, RedisArgument[]][] = [];
    for (const fields of written) if (fields.length > 0) commands.push(['HSET', fields]);
    for (const fields of removed) if (fields.length > 0) commands.push(['HDEL', fields]);
    // In order: what is removed must not come back by a command that was tried again.
    this.writing = this.writing.then(async () => {
      await Promise.all(commands.map(([name, args]) => this.command(name, args)));
    });
    return this.writing;
  }

  private async command(name: string, args: readonly RedisArgument[]): Promise<void> {
    const { redis, self, epoch } = this.options;
    try {
      await redis.call(name, [this.key(self, epoch()), ...args], { patienceMs: PATIENCE_MS });
    } catch {
      // Redis is away, which others say, and all is written again when it is back.
    }
  }

  private key(worker: number, epoch: number): string {
    return `${this.options.redis.prefix}:spool:${epoch}:{w${worker}}`;
  }
}

function isMessage(stanza: Buffer): boolean {
  return stanza[1] === 0x6d; // <m
}

function field({ id }: Session, position: number): string {
  return `${id}:${position}`;
}

function named(name: Buffer): { session: string; position: number } {
  const text = name.toString();
  const colon = text.lastIndexOf(':');
  return { session: text.slice(0, colon), position: Number(text.slice(colon + 1)) };
}

/** Length of the full JID (u16), the full JID, the stanza. */
function packed(full: string, stanza: Buffer): Buffer {
  const length = Buffer.byteLength(full);
  const value = Buffer.allocUnsafe(2 + length + stanza.length);
  value.writeUInt16LE(length);
  value.write(full, 2);
  value.set(stanza, 2 + length);
  return value;
}

function unpacked(value: Buffer): { full: string; stanza: Buffer } {
  const end = 2 + value.readUInt16LE();
  return { full: value.toString('utf8', 2, end), stanza: value.subarray(end) };
}
