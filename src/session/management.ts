import type { StreamFailure } from '../stream/errors.js';
import { escapeAttr } from '../xml/escape.js';
import type { Session } from './session.js';

export const NS_SM = 'urn:xmpp:sm:3';

/** One session's side of stream management (XEP-0198): what it received, and how it may be resumed. */
export class StreamManagement {
  /** Stanzas received from the client since it was enabled, modulo 2^32. */
  handled = 0;

  constructor(
    /** The identifier to resume by; undefined when the session is not resumable. */
    readonly id: string | undefined,
    /** Seconds that the session waits to be resumed; 0 when it does not. */
    readonly resumable: number,
  ) {}

  /** Owes the client an `<a/>`; one for any number of requests in a tick. */
  answer(session: Session): void {
    session.outbox.owe(() => Buffer.from(`<a xmlns='${NS_SM}' h='${this.handled}'/>`));
  }
}

/** The peer says that it has handled more than it was sent (XEP-0198 §6). */
export function tooHigh(session: Session, h: number): StreamFailure {
  return {
    condition: 'undefined-condition',
    text: `h=${h} acknowledges more than was sent`,
    application: `<handled-count-too-high xmlns='${NS_SM}' h='${h}' send-count='${session.outbox.sentCount}'/>`,
  };
}

/** Anything that is not a stanza on a bound stream. */
export function nonza(session: Session): StreamFailure | undefined {
  const element = session.tree();
  if (element.ns === 'urn:ietf:params:xml:ns:xmpp-framing' && element.name === 'close') {
    session.connection!.peerClosed();
    return undefined;
  }
  if (element.ns !== NS_SM) return session.connection!.unsupported(element);
  if (element.name === 'enable') return enable(session, element.attr('resume'), element.attr('max'));
  // <resume/> after binding, <r/> and <a/> before <enable/>, or an <a/> without a number (XEP-0198 §3, §5).
  session.sendNonza(
    `<failed xmlns='${NS_SM}'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`,
  );
  return undefined;
}

function enable(session: Session, resume: string | undefined, max: string | undefined): undefined {
  const { config, registry } = session.context;
  if (session.sm !== undefined || !config.sm.enabled) {
    session.sendNonza(
      `<failed xmlns='${NS_SM}'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`,
    );
    return undefined;
  }
  const wanted = max !== undefined && /^\d{1,9}$/.test(max) ? Number(max) : Infinity;
  const resumable = resume === 'true' || resume === '1' ? Math.min(wanted, config.sm.resume_seconds) : 0;
  session.sm = new StreamManagement(resumable > 0 ? session.id : undefined, resumable);
  registry.resumable(session);
  const { advertise } = config.cluster;
  const location = advertise === '' ? '' : ` location='${escapeAttr(advertise)}'`;
  const offer = resumable > 0 ? ` resume='true' id='${session.id}' max='${resumable}'${location}` : '';
  session.sendNonza(`<enabled xmlns='${NS_SM}'${offer}/>`);
  session.outbox.keepUntilAcknowledged(config.sm.request_every);
  if (resumable > 0) session.context.spool?.adopt(session);
  return undefined;
}
