import type { Session } from './session.js';

/** The bound sessions that live in this worker, attached or waiting to be resumed. */
export class Registry {
  private readonly byFull = new Map<string, Session>();
  /** One session is by far the usual case: it is kept without a list around it. */
  private readonly byBare = new Map<string, Session | Session[]>();
  private readonly byId = new Map<string, Session>();
  /** Binds that take time, by the session's id, whatever has become of it meanwhile. They do not reject. */
  readonly binding = new Map<string, Promise<unknown>>();

  get size(): number {
    return this.byFull.size;
  }

  add(session: Session): void {
    this.byFull.set(session.jid.full, session);
    const held = this.byBare.get(session.jid.bare);
    if (held === undefined) this.byBare.set(session.jid.bare, session);
    else if (Array.isArray(held)) held.push(session);
    else this.byBare.set(session.jid.bare, [held, session]);
  }

  remove(session: Session): void {
    if (this.byFull.get(session.jid.full) === session) this.byFull.delete(session.jid.full);
    if (session.resumption !== undefined) this.byId.delete(session.resumption);
    const held = this.byBare.get(session.jid.bare);
    if (held === session) this.byBare.delete(session.jid.bare);
    else if (Array.isArray(held)) {
      const rest = held.filter((other) => other !== session);
      if (rest.length === 0) this.byBare.delete(session.jid.bare);
      else this.byBare.set(session.jid.bare, rest.length === 1 ? rest[0]! : rest);
    }
  }

  /** Makes the session findable by its resumption identifier (XEP-0198 §5). */
  resumable(session: Session): void {
    if (session.resumption !== undefined) this.byId.set(session.resumption, session);
  }

  byResumption(id: string): Session | undefined {
    return this.byId.get(id);
  }

  full(full: string): Session | undefined {
    return this.byFull.get(full);
  }

  bare(bare: string): readonly Session[] {
    const held = this.byBare.get(bare);
    return held === undefined ? NONE : Array.isArray(held) ? held : [held];
  }

  all(): IterableIterator<Session> {
    return this.byFull.values();
  }
}

const NONE: readonly Session[] = [];
