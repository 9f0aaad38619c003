import { CHANNEL, type Bus } from '../cluster/bus.js';
import type { JidCache } from '../jid/jid.js';
import { Shared } from '../stream/outbox.js';
import type { Registry } from './registry.js';
import type { Router } from './router.js';
import type { Session } from './session.js';

/** The session that has taken another one's resource. */
export interface Heir {
  worker: number;
  id: string;
}

/** What waits for the heir to become available. */
interface Estate {
  stanzas: Buffer[];
  timer: NodeJS.Timeout;
}

/** A session that never shows presence leaves what it inherited to others after this time, in milliseconds. */
const PATIENCE = 10_000;
/** Frames between workers are cut at about this size. */
const FRAME_BYTES = 256 * 1024;

/**
 * What waited in a session (XEP-0198 §4: not sent, or not acknowledged) whose resource a new one has taken, mostly of the same device
 * that has lost its memory: the new one gets it once it is available, in order, instead of the senders getting it back.
 */
export class Succession {
  private readonly estates = new Map<Session, Estate>();

  constructor(
    private readonly context: {
      readonly bus: Bus;
      readonly registry: Registry;
      readonly router: Router;
      readonly jids: JidCache;
    },
  ) {
    const heard = (body: Buffer): void => {
      const { full, id, stanzas } = readFrame(body);
      this.inherit(full, id, stanzas);
    };
    context.bus.listen(CHANNEL.inherit, (_from, body) => heard(body), true);
    // The heir died with its worker.
    context.bus.onUndelivered(CHANNEL.inherit, (_peer, body) => {
      const { full, stanzas } = readFrame(body);
      this.route(full, stanzas);
    });
  }

  /** The ended session leaves the messages in its outbox; who asked it something is told at once. */
  bequeath(session: Session, heir: Heir): void {
    const { bus, router } = this.context;
    const stanzas: Buffer[] = [];
    const others: Buffer[] = [];
    for (const stanza of session.outbox.drainStanzas()) (isMessage(stanza) ? stanzas : others).push(stanza);
    router.reroute(session.jid, others);
    if (heir.worker === bus.self) return this.inherit(session.jid.full, heir.id, stanzas);
    for (const frame of frames(session.jid.full, heir.id, stanzas)) bus.send(heir.worker, CHANNEL.inherit, frame);
  }

  private inherit(full: string, id: string, stanzas: Buffer[]): void {
    if (stanzas.length === 0) return;
    const session = this.context.registry.full(full);
    const estate = session?.id === id ? this.estates.get(session) : undefined;
    if (estate !== undefined) {
      estate.stanzas.push(...stanzas);
      return;
    }
    if (session?.id !== id || session.available) return this.route(full, stanzas);
    const timer = setTimeout(() => this.sessionAvailable(session), PATIENCE).unref();
    this.estates.set(session, { stanzas, timer });
  }

  sessionAvailable(session: Session): void {
    const stanzas = this.taken(session);
    if (stanzas !== undefined) this.route(session.jid.full, stanzas);
  }

  /** Whatever becomes of its queue becomes of what it inherited. */
  sessionClosed(session: Session): void {
    for (const stanza of this.taken(session) ?? []) session.outbox.push(undefined, new Shared(stanza));
  }

  sessionLeaving(session: Session): undefined {
    this.sessionClosed(session);
  }

  private taken(session: Session): Buffer[] | undefined {
    const estate = this.estates.get(session);
    if (estate === undefined) return undefined;
    clearTimeout(estate.timer);
    this.estates.delete(session);
    return estate.stanzas;
  }

  private route(full: string, stanzas: Buffer[]): void {
    const jid = this.context.jids.get(full);
    if (jid !== undefined) this.context.router.reroute(jid, stanzas);
  }
}

function isMessage(stanza: Buffer): boolean {
  return stanza.toString('latin1', 0, '<message'.length) === '<message';
}

/** Full JID, id and stanzas, each behind its length in four bytes. */
function* frames(full: string, id: string, stanzas: readonly Buffer[]): Generator<Buffer> {
  const head = [...part(Buffer.from(full)), ...part(Buffer.from(id))];
  let parts = [...head];
  let size = 0;
  for (const stanza of stanzas) {
    parts.push(...part(stanza));
    size += stanza.length;
    if (size < FRAME_BYTES) continue;
    yield Buffer.concat(parts);
    parts = [...head];
    size = 0;
  }
  if (parts.length > head.length) yield Buffer.concat(parts);
}

function part(bytes: Buffer): [Buffer, Buffer] {
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32LE(bytes.length);
  return [length, bytes];
}

/** The bus lends the bytes for the call only: they are copied. */
function readFrame(body: Buffer): { full: string; id: string; stanzas: Buffer[] } {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const end = at + 4 + body.readUInt32LE(at);
    parts.push(Buffer.from(body.subarray(at + 4, end)));
    at = end;
  }
  const [full, id, ...stanzas] = parts;
  return { full: full!.toString(), id: id!.toString(), stanzas };
}
