import { CHANNEL, type Bus } from '../cluster/bus.js';
import type { JidCache } from '../jid/jid.js';
import { isMessage, type Shared } from '../stream/outbox.js';
import { entryFrames, readEntries } from './moving/frames.js';
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
  stanzas: Shared[];
  timer: NodeJS.Timeout;
}

/** A session that never shows presence leaves what it inherited to others after this time, in milliseconds. */
const PATIENCE = 10_000;
/** First byte on CHANNEL.inherit; full JID, id and messages follow. */
const INHERIT = 0;

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
    const stanzas: Shared[] = [];
    const others: Shared[] = [];
    for (const stanza of session.outbox.drainStanzas()) (isMessage(stanza) ? stanzas : others).push(stanza);
    router.reroute(session.jid, others);
    if (heir.worker === bus.self) return this.inherit(session.jid.full, heir.id, stanzas);
    const entries = stanzas.map((shared) => ({ head: undefined, shared }));
    for (const frame of entryFrames(INHERIT, [session.jid.full, heir.id], entries))
      bus.send(heir.worker, CHANNEL.inherit, frame);
  }

  private inherit(full: string, id: string, stanzas: Shared[]): void {
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
    for (const stanza of this.taken(session) ?? []) session.outbox.push(undefined, stanza);
  }

  sessionLeaving(session: Session): undefined {
    this.sessionClosed(session);
  }

  private taken(session: Session): Shared[] | undefined {
    const estate = this.estates.get(session);
    if (estate === undefined) return undefined;
    clearTimeout(estate.timer);
    this.estates.delete(session);
    return estate.stanzas;
  }

  private route(full: string, stanzas: Shared[]): void {
    const jid = this.context.jids.get(full);
    if (jid !== undefined) this.context.router.reroute(jid, stanzas);
  }
}

function readFrame(body: Buffer): { full: string; id: string; stanzas: Shared[] } {
  const { names, entries } = readEntries(body, 2);
  return { full: names[0]!, id: names[1]!, stanzas: entries.map(({ shared }) => shared) };
}
