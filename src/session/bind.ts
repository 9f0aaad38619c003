import { CHANNEL } from '../cluster/bus.js';
import type { SessionEntry } from '../cluster/directory.js';
import { makeJid } from '../jid/jid.js';
import type { Connection } from '../stream/connection.js';
import { randomId } from '../stream/ids.js';
import type { StreamCondition } from '../stream/errors.js';
import type { SessionContext } from './context.js';
import { StanzaError, refuse } from './errors.js';
import { Session } from './session.js';

const REPLACED = 'another session has taken this resource';

/** Binds a resource to an authenticated connection (RFC 6120 §7), for the whole pool. */
export function bindSession(
  context: SessionContext,
  connection: Connection,
  user: string,
  wanted: string | undefined,
): Promise<Session | StanzaError> | Session | StanzaError {
  const { config, registry, directory, bus } = context;
  const jid = makeJid(user, config.domain, wanted ?? randomId());
  if (jid === undefined) return refuse('bad-request', { text: 'this cannot be a resource' });
  const elsewhere = directory.remote(jid.bare);
  const held = registry.bare(jid.bare).length + elsewhere.length;
  const holder = registry.full(jid.full);
  const taken = holder !== undefined || elsewhere.some((entry) => entry.resource === jid.resource);
  if (taken && config.resource_conflict === 'refuse') return refuse('conflict');
  if (!taken && config.limits.enabled && held >= config.limits.sessions_per_account) {
    return refuse('resource-constraint', { text: 'too many sessions of this account' });
  }
  // The number of the worker comes first: whoever gets this identifier back knows where to ask.
  const session = new Session(context, jid, `${bus.self.toString(36)}.${randomId()}`, connection);
  registry.add(session);
  holder?.kick(REPLACED, 'conflict', { worker: bus.self, id: session.id });
  const displaced = directory.bind(session.entry());
  return displaced instanceof Promise
    ? displaced.then((entry) => bound(context, session, entry))
    : bound(context, session, displaced);
}

/** The session is in the directory, where it displaced another or none. */
function bound(context: SessionContext, session: Session, displaced: SessionEntry | undefined): Session | StanzaError {
  const { bus } = context;
  if (displaced !== undefined && displaced.worker !== bus.self) {
    const kick: Kick = { full: session.jid.full, id: displaced.id, heir: session.id };
    bus.send(displaced.worker, CHANNEL.kick, Buffer.from(JSON.stringify(kick)));
  }
  if (session.ended) return refuse('conflict', { text: REPLACED });
  for (const watcher of context.watchers) watcher.sessionBound?.(session);
  return session;
}

/** What a worker tells another of a session that has to end. */
interface Kick {
  full: string;
  id: string;
  text?: string;
  condition?: StreamCondition;
  /** The session of the worker that says so which has taken the resource, and gets what waits. */
  heir?: string;
}

/** Listens for sessions of this worker whose resource was taken at another, or whose account is gone. */
export function listenForKicks(context: SessionContext): void {
  context.bus.listen(CHANNEL.kick, (from, body) => {
    const { full, id, text = REPLACED, condition, heir } = JSON.parse(body.toString()) as Kick;
    const session = context.registry.full(full);
    if (session?.id === id) session.kick(text, condition, heir === undefined ? undefined : { worker: from, id: heir });
  });
}

/** Ends all sessions of an account, at every worker: it is gone, or has another password. */
export function endSessions(context: SessionContext, bare: string, text: string): void {
  const condition = 'not-authorized';
  for (const { resource, worker, id } of context.directory.remote(bare)) {
    const kick: Kick = { full: `${bare}/${resource}`, id, text, condition };
    context.bus.send(worker, CHANNEL.kick, Buffer.from(JSON.stringify(kick)));
  }
  for (const session of [...context.registry.bare(bare)]) session.kick(text, condition);
}
