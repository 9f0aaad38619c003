import { CHANNEL } from '../cluster/bus.js';
import type { BindOutcome, Entries, SessionEntry } from '../cluster/directory.js';
import { makeJid } from '../jid/jid.js';
import type { Connection } from '../stream/connection.js';
import { randomId } from '../stream/ids.js';
import type { StreamCondition } from '../stream/errors.js';
import type { SessionContext } from './context.js';
import type { Registry } from './registry.js';
import { StanzaError, refuse } from '../stream/stanza-error.js';
import { Session } from './session.js';

/** How long a session that loses its resource at another worker is waited for, in milliseconds. */
const KICK_PATIENCE = 1_000;
const NOTHING = Buffer.alloc(0);
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
  const { enabled, sessions_per_account } = config.limits;
  const replace = config.resource_conflict === 'replace';
  const holder = registry.full(jid.full);
  if (holder !== undefined && !replace) return refuse('conflict');
  const limited = enabled && holder === undefined;
  const room = limited ? sessions_per_account - registry.bare(jid.bare).length : Infinity;
  // The number of the worker comes first: whoever gets this identifier back knows where to ask.
  const session = new Session(context, jid, `${bus.self.toString(36)}.${randomId()}`, connection);
  registry.add(session);
  holder?.kick(REPLACED, 'conflict', { worker: bus.self, id: session.id });
  const outcome = directory.bind(session.entry(), { replace, room });
  const result = outcome instanceof Promise ? awaited(context, session, outcome) : bound(context, session, outcome);
  if (result instanceof Promise) {
    const done = (): void => void registry.binding.delete(session.id);
    registry.binding.set(session.id, result.then(done, done));
  }
  return result;
}

function awaited(
  context: SessionContext,
  session: Session,
  outcome: Promise<BindOutcome>,
): Promise<Session | StanzaError> {
  return outcome.then(
    (settled) => bound(context, session, settled),
    (error: unknown) => {
      context.log.error({ err: error, session: session.id }, 'a resource could not be bound');
      session.withdraw();
      return refuse('internal-server-error', { type: 'wait' });
    },
  );
}

/** The session is in the directory, where it displaced another or none; or it may not be there. */
function bound(
  context: SessionContext,
  session: Session,
  outcome: BindOutcome,
): Promise<Session | StanzaError> | Session | StanzaError {
  const { bus, registry } = context;
  if (typeof outcome === 'string') {
    session.withdraw();
    if (outcome === 'taken') return refuse('conflict');
    return refuse('resource-constraint', { text: 'too many sessions of this account' });
  }
  if (outcome === undefined) return settled(context, session);
  if (outcome.worker === bus.self) {
    const before = registry.binding.get(outcome.id);
    return before === undefined ? settled(context, session) : before.then(() => settled(context, session));
  }
  const kick: Kick = { full: session.jid.full, id: outcome.id, heir: session.id };
  // Once the client knows that it has the resource, nothing that is sent to it may still find the other one.
  const gone = bus.request(outcome.worker, CHANNEL.kick, Buffer.from(JSON.stringify(kick)), KICK_PATIENCE);
  // One that does not answer is dead, or the news lies before everything else that it has to read.
  return gone.then(
    () => settled(context, session),
    () => settled(context, session),
  );
}

/** Nobody else has the resource. */
function settled(context: SessionContext, session: Session): Session | StanzaError {
  if (session.ended) return refuse('conflict', { text: REPLACED });
  for (const watcher of context.watchers) watcher.sessionBound?.(session);
  return session;
}

/** What a worker tells another of a session that has to end. */
interface Kick {
  full: string;
  /** Absent: all sessions of that bare JID. */
  id?: string;
  text?: string;
  condition?: StreamCondition;
  /** The session of the worker that says so which has taken the resource, and gets what waits. */
  heir?: string;
}

/** Listens for sessions of this worker whose resource was taken at another, or whose account is gone. */
export function listenForKicks({ bus, registry }: SessionContext): void {
  bus.listen(CHANNEL.kick, (from, body) => {
    const { full, id, text = REPLACED, condition, heir } = JSON.parse(body.toString()) as Kick;
    const session = registry.full(full);
    if (id === undefined) {
      for (const each of [...registry.bare(full)]) each.kick(text, condition);
      return undefined;
    }
    if (session?.id === id) session.kick(text, condition, heir === undefined ? undefined : { worker: from, id: heir });
    // It may have displaced another one itself a moment ago, which has to be gone, too.
    return registry.binding.get(id)?.then(() => NOTHING);
  });
}

/** A session of this worker whose resource another one has by now, as the directory found out. */
export function displaced(registry: Registry, { bare, resource, id }: SessionEntry): void {
  const session = registry.full(`${bare}/${resource}`);
  if (session?.id === id) session.kick(REPLACED);
}

/** Ends all sessions of an account, at every worker: it is gone, or has another password. */
export function endSessions(context: SessionContext, bare: string, text: string): void {
  const { bus, directory, registry } = context;
  const condition = 'not-authorized';
  const tell = (entries: Entries): void => {
    // Who else has one is not known: whoever has is meant.
    const all: Kick = { full: bare, text, condition };
    if (entries.partial) bus.broadcast(CHANNEL.kick, Buffer.from(JSON.stringify(all)));
    for (const { resource, worker, id } of entries) {
      const kick: Kick = { full: `${bare}/${resource}`, id, text, condition };
      bus.send(worker, CHANNEL.kick, Buffer.from(JSON.stringify(kick)));
    }
  };
  const elsewhere = directory.remote(bare);
  if (elsewhere instanceof Promise) void elsewhere.then(tell);
  else tell(elsewhere);
  for (const session of [...registry.bare(bare)]) session.kick(text, condition);
}
