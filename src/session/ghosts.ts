import type { Entries, SessionEntry } from '../cluster/directory.js';
import type { Jid, JidCache } from '../jid/jid.js';
import type { Shared } from '../stream/outbox.js';
import { absence, addressed } from './presence.js';
import type { Reach } from './reach.js';
import type { Registry } from './registry.js';
import { when } from './routed.js';
import type { Session } from './session.js';

/** What an account's resources are shown of one that died with its worker: its own worker cannot say that it is gone (RFC 6121 §4.5.3). */
export class Ghosts {
  constructor(
    private readonly reach: Reach,
    private readonly context: { readonly registry: Registry; readonly jids: JidCache },
  ) {}

  /** The others shall not take it for available any more, unless its client is back. */
  died({ bare, resource }: SessionEntry): void {
    const jid = this.context.jids.get(`${bare}/${resource}`);
    if (jid === undefined) return;
    const gone = addressed(absence(jid), bare);
    when(this.reach.lookups.of(bare), (entries) => {
      if (this.isBack(jid, entries)) return;
      for (const session of this.context.registry.bare(bare)) if (session.available) session.deliver(undefined, gone);
      this.toOthers(bare, gone, entries, jid.full);
    });
  }

  /** Another worker says so, which may be news from before its client came back. */
  heard(session: Session, from: Jid, gone: Shared): void {
    when(this.reach.lookups.of(from.bare), (entries) => {
      if (session.available && !this.isBack(from, entries)) session.deliver(undefined, gone);
    });
  }

  /** Others took this worker for dead, and may have said so of its sessions. */
  showAgain(): void {
    for (const { jid, presence } of this.context.registry.all()) {
      if (presence === undefined) continue;
      const again = addressed(presence, jid.bare);
      when(this.reach.lookups.of(jid.bare), (entries) => this.toOthers(jid.bare, again, entries));
    }
  }

  private toOthers(bare: string, presence: Shared, entries: Entries, from?: string): void {
    for (const { worker, resource } of this.reach.elsewhere(bare, entries))
      this.reach.send(worker, { to: `${bare}/${resource}`, kind: 'broadcast', from }, presence.bytes);
  }

  /** Or that cannot be known. */
  private isBack({ full, resource }: Jid, entries: Entries): boolean {
    if (entries.partial || this.context.registry.full(full) !== undefined) return true;
    return entries.some((entry) => entry.resource === resource);
  }
}
