import { counters, count } from '../metrics/counters.js';
import type { IqAnswer, IqRequest, Route, Target } from '../features/feature.js';
import type { Jid } from '../jid/jid.js';
import type { Next } from '../stream/connection.js';
import type { StreamFailure } from '../stream/errors.js';
import { Shared } from '../stream/outbox.js';
import type { Element } from '../xml/element.js';
import { E, TYPE } from '../xml/envelope.js';
import { escapeAttr } from '../xml/escape.js';
import { StanzaError, refuse } from '../stream/stanza-error.js';
import { bounce, bounceLater, stamped, text } from './inbound.js';
import type { Session } from './session.js';

/** The iq in the envelope: an answer for somebody, or a request to the server, a service, an account or a session. */
export function iq(session: Session): Next {
  const { context } = session;
  const { env } = context.scanner;
  const type = env[E.typeCode]!;
  const to = text(session, E.to);
  const known = type === TYPE.get || type === TYPE.set || type === TYPE.result || type === TYPE.error;
  // `id` and `type` are required (RFC 6120 §8.1.3, §8.2.3), and a request has exactly one child.
  if (!known || env[E.idEnd] === 0) return refused(session, to, refuse('bad-request'));
  const request = type === TYPE.get || type === TYPE.set;
  if (request && env[E.childCount] !== 1) return refused(session, to, refuse('bad-request'));
  const jid = to === undefined ? undefined : context.jids.get(to);
  if (to !== undefined && jid === undefined) return refused(session, to, refuse('jid-malformed'));
  const target = targetOf(session, jid);
  if (target === 'session') return forward(session, jid!, request, to!);
  if (!request) return undefined;
  if (target === undefined) {
    const local = jid!.domain === context.config.domain;
    return refused(session, to, refuse(local ? 'service-unavailable' : 'remote-server-not-found'));
  }
  return answer(session, target, jid, to);
}

/** Who has to answer; `session` for a full JID of ours, undefined for nobody. */
function targetOf(session: Session, to: Jid | undefined): Target | 'session' | undefined {
  const { context } = session;
  if (to === undefined || to.full === session.jid.bare) return 'account';
  if (to.domain === context.config.domain) {
    if (to.local === '') return to.resource === '' ? 'server' : undefined;
    return to.resource === '' ? 'contact' : 'session';
  }
  return to.local === '' ? context.services.get(to.domain)?.target : undefined;
}

function refused(session: Session, to: string | undefined, error: StanzaError): undefined {
  bounce(session, 'iq', session.context.scanner.env[E.typeCode]!, to, error);
  return undefined;
}

function forward(session: Session, to: Jid, request: boolean, toText: string): Next {
  const id = text(session, E.id)!;
  const type = session.context.scanner.env[E.typeCode]!;
  const error = session.context.router.iq(to, request, new Shared(stamped(session)), session.jid, id);
  if (error instanceof Promise) return bounceLater(session, 'iq', type, toText, error, id);
  return error === undefined ? undefined : bounce(session, 'iq', type, toText, error, id);
}

function answer(session: Session, target: Target, jid: Jid | undefined, to: string | undefined): Next {
  const { context } = session;
  const stanza = session.tree();
  const payload = stanza.elements()[0]!;
  const type = stanza.attr('type') as 'get' | 'set';
  const request: IqRequest = {
    type,
    id: stanza.attr('id')!,
    from: session.jid,
    to: jid,
    payload,
    lang: stanza.attr('xml:lang') ?? (session.connection?.lang || undefined),
    session,
  };
  const route: Route = `iq:${type}:${payload.ns}:${payload.name}`;
  const handler = context.handler(target, route);
  let answered: IqAnswer | Promise<IqAnswer>;
  if (handler !== undefined) {
    count(counters.routes, route);
    answered = handler(request);
  } else {
    const service = target === 'pubsub' ? context.services.get(jid!.domain) : undefined;
    answered = service === undefined ? refuse('service-unavailable') : service.handleIq(request);
  }
  if (answered instanceof Promise) return settle(session, request, to, answered);
  reply(session, request, to, answered);
  return undefined;
}

async function settle(
  session: Session,
  request: IqRequest,
  to: string | undefined,
  answered: Promise<IqAnswer>,
): Promise<StreamFailure | undefined> {
  let result: IqAnswer;
  try {
    result = await answered;
  } catch (error) {
    session.context.log.error({ err: error, session: session.id, payload: request.payload.name }, 'a request failed');
    result = refuse('internal-server-error', { type: 'wait' });
  }
  reply(session, request, to, result);
  return undefined;
}

function reply(session: Session, request: IqRequest, to: string | undefined, answered: IqAnswer): void {
  if (session.ended) return;
  const from = to === undefined ? '' : ` from='${escapeAttr(to)}'`;
  const address = `id='${escapeAttr(request.id)}'${from} to='${escapeAttr(session.jid.full)}'`;
  const refused = answered instanceof StanzaError;
  if (refused) count(counters.stanzaErrors, answered.condition);
  const body: Element | undefined = refused ? answered.toElement() : answered;
  // What was refused in part comes back with the error (RFC 6120 §8.3.1).
  const before = refused && answered.payload !== undefined ? answered.payload.serialize('jabber:client') : '';
  const type = refused ? 'error' : 'result';
  session.sendBytes(
    body === undefined
      ? `<iq type='${type}' ${address}/>`
      : `<iq type='${type}' ${address}>${before}${body.serialize('jabber:client')}</iq>`,
  );
}
