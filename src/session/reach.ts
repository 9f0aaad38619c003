import { CHANNEL, type Bus } from '../cluster/bus.js';
import type { Directory, Entries } from '../cluster/directory.js';
import type { Jid } from '../jid/jid.js';
import { counters, count } from '../metrics/counters.js';
import type { Shared } from '../stream/outbox.js';
import { Lookups } from './lookups.js';
import type { Registry } from './registry.js';
import { packed, when, type Envelope } from './routed.js';

/** The way to sessions, here or at other workers. */
export class Reach {
  readonly lookups: Lookups;

  constructor(
    private readonly context: { readonly bus: Bus; readonly registry: Registry; readonly directory: Directory },
  ) {
    this.lookups = new Lookups(context.directory);
  }

  /** To the resource of a full JID if it is at this worker, and nothing waits that was to come before. */
  hereAndNow(to: Jid, shared: Shared): boolean {
    if (to.resource === '' || !this.lookups.idle(to.bare)) return false;
    const session = this.context.registry.full(to.full);
    if (session === undefined) return false;
    session.deliver(undefined, shared);
    return true;
  }

  /** To the resource of a full JID, available or only connected; what cannot be delivered is dropped and counted. */
  toFull(to: Jid, shared: Shared, envelope: Envelope): void {
    if (this.hereAndNow(to, shared)) return;
    when(this.lookups.of(to.bare), (entries) => {
      if (!this.among(to, shared, envelope, entries)) count(counters.drops, 'undeliverable');
    });
  }

  /** The same, among these entries; false when it is not there. */
  among(to: Jid, shared: Shared, envelope: Envelope, entries: Entries): boolean {
    const session = this.context.registry.full(to.full);
    if (session !== undefined) {
      session.deliver(undefined, shared);
      return true;
    }
    for (const { resource, worker } of entries) {
      if (resource !== to.resource) continue;
      this.send(worker, envelope, shared.bytes);
      return true;
    }
    return false;
  }

  /**
   * Those that are not at this worker. A session on its way from one worker to another is at both for a moment; what this
   * worker sends to it goes to the one that is here.
   */
  elsewhere(bare: string, entries: Entries): Entries {
    if (entries.length === 0) return entries;
    const local = this.context.registry.bare(bare);
    if (local.length === 0) return entries;
    return entries.filter(({ resource }) => !local.some((session) => session.jid.resource === resource));
  }

  send(worker: number, envelope: Envelope, stanza: Buffer): void {
    this.context.bus.send(worker, CHANNEL.stanza, ...packed(envelope), stanza);
  }
}
