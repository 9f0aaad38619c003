import { E, KIND } from '../xml/envelope.js';
import type { Element } from '../xml/element.js';
import { escapeAttr } from '../xml/escape.js';
import { StanzaError, refuse } from '../session/errors.js';
import { counters, count } from '../metrics/counters.js';
import type { Connection, Next } from './connection.js';
import type { StreamFailure } from './errors.js';
import { NS_STREAM } from './header.js';
import { CHANNEL_BINDING_TYPES } from './sasl/authenticator.js';
import { decodeBase64 } from './sasl/base64.js';
import type { Exchange, SaslContext, SaslStep } from './sasl/types.js';
import { TcpTransport } from './tcp.js';
import { channelBindings, clientCertificate } from './tls/bindings.js';

const NS_TLS = 'urn:ietf:params:xml:ns:xmpp-tls';
const NS_SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
const NS_BIND = 'urn:ietf:params:xml:ns:xmpp-bind';
const NS_SM = 'urn:xmpp:sm:3';
const NS_REGISTER = 'jabber:iq:register';
const NS_FRAMING = 'urn:ietf:params:xml:ns:xmpp-framing';
const MISTAKEN: StreamFailure = { condition: 'invalid-from', text: 'this is not the account that is logged in' };

/** Stream negotiation (RFC 6120 §4.3): STARTTLS, SASL, then binding a resource or resuming a session. */
export class Negotiation {
  /** The authenticated account's localpart. */
  user: string | undefined;
  private exchange: Exchange | undefined;
  private failures = 0;
  /** Resources that could not be bound. */
  private refusals = 0;

  constructor(private readonly connection: Connection) {}

  /** The peer's header is in order and ours is sent: say what may be negotiated (RFC 6120 §4.3.2). */
  opened(): Next {
    const { host } = this.connection;
    if (this.user !== undefined && !this.speaksFor(this.user)) return MISTAKEN;
    if (this.user !== undefined) this.connection.sendFeatures(host.boundFeatures);
    else this.connection.sendFeatures(this.featuresBeforeLogin());
    return undefined;
  }

  /** The connection is gone. */
  abort(): void {
    this.exchange = undefined;
  }

  /** The header names nobody, or the account that is logged in. */
  private speaksFor(user: string): boolean {
    const { claimed, host } = this.connection;
    return claimed === undefined || (claimed.local === user && claimed.domain === host.config.domain);
  }

  private featuresBeforeLogin(): string {
    const { host, transport } = this.connection;
    const { config, authenticator, loginFeatures } = host;
    const canStartTls = !transport.secure && transport instanceof TcpTransport && host.certificates !== undefined;
    const tls = canStartTls ? `<starttls xmlns='${NS_TLS}'>${this.mustSecure ? '<required/>' : ''}</starttls>` : '';
    if (this.mustSecure) return tls + loginFeatures;
    const context = this.context();
    const bindings = CHANNEL_BINDING_TYPES.filter((type) => context.bindings[type] !== undefined);
    // A storm of reconnecting clients is offered the same few things over and over.
    const kind = [transport.kind, context.plainAllowed, context.certificate !== undefined, ...bindings].join();
    const known = host.offers.get(kind);
    if (known !== undefined) return known;
    const mechanisms = authenticator.mechanisms(context).map((name) => `<mechanism>${name}</mechanism>`);
    const types = bindings.map((type) => `<channel-binding type='${type}'/>`);
    const offer = [
      tls,
      `<mechanisms xmlns='${NS_SASL}'>${mechanisms.join('')}</mechanisms>`,
      types.length === 0
        ? ''
        : `<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>${types.join('')}</sasl-channel-binding>`,
      config.registration === 'open' ? "<register xmlns='http://jabber.org/features/iq-register'/>" : '',
      loginFeatures,
    ].join('');
    host.offers.set(kind, offer);
    return offer;
  }

  /** TLS has to come first: always on TCP unless the configuration makes it optional. */
  private get mustSecure(): boolean {
    const { host, transport } = this.connection;
    return transport.kind === 'tcp' && host.config.c2s.tls === 'required';
  }

  private context(): SaslContext {
    const { host, transport } = this.connection;
    const tls = transport instanceof TcpTransport ? transport.tls : undefined;
    return {
      domain: host.config.domain,
      secure: transport.secure,
      plainAllowed: transport.secure || host.config.c2s.tls === 'optional' || isLoopbackWebSocket(this.connection),
      bindings: tls === undefined ? {} : channelBindings(tls),
      certificate: tls === undefined ? undefined : clientCertificate(tls),
      remoteAddress: transport.remoteAddress,
    };
  }

  /** One element before a session is bound. */
  element(): Next {
    const { env } = this.connection.host.scanner;
    const element = this.connection.tree();
    const kind = env[E.kind];
    if (element.ns === NS_FRAMING) {
      if (element.name === 'open' && !this.connection.isOpen) return this.connection.openFrame(element);
      if (element.name === 'open') return this.connection.unsupported(element);
      if (element.name === 'close') this.connection.peerClosed();
      return undefined;
    }
    if (!this.connection.isOpen) return noHeader(element);
    if (element.ns === NS_TLS && element.name === 'starttls') return this.startTls();
    if (element.ns === NS_SASL) return this.sasl(element);
    if (kind === KIND.iq) return this.iq(element);
    if (element.ns === NS_STREAM) return this.connection.unsupported(element);
    if (element.ns === NS_SM) return this.resume(element);
    if (kind === KIND.message || kind === KIND.presence || this.user === undefined) {
      return { condition: 'not-authorized', text: 'authenticate and bind a resource first' };
    }
    return this.connection.unsupported(element);
  }

  // --- STARTTLS (RFC 6120 §5) ----------------------------------------------------------------------------------------

  private startTls(): Next {
    const { connection } = this;
    const { host, transport } = connection;
    if (!(transport instanceof TcpTransport) || transport.secure || host.certificates === undefined || this.user) {
      connection.transport.writeNow(Buffer.from(`<failure xmlns='${NS_TLS}'/>`));
      connection.close();
      return undefined;
    }
    // Anything sent in the clear behind <starttls/> could be an attacker's: it must not count as sent in TLS.
    if (host.scanner.discard(connection.handle) > 0) {
      return { condition: 'policy-violation', text: 'wait for <proceed/> before sending more' };
    }
    connection.outbox.flush();
    transport.writeNow(Buffer.from(`<proceed xmlns='${NS_TLS}'/>`));
    connection.restart();
    transport.secureWith(host.certificates.tlsOptions('starttls')).catch((error: Error) => {
      host.log.debug({ connection: connection.id, err: error }, 'TLS handshake failed');
      count(counters.drops, 'tls_handshake');
      transport.destroy();
    });
    return undefined;
  }

  // --- SASL (RFC 6120 §6) --------------------------------------------------------------------------------------------

  private sasl(element: Element): Next {
    if (this.user !== undefined) return { condition: 'not-authorized', text: 'already authenticated' };
    if (this.mustSecure) return this.saslFailed('encryption-required');
    if (element.name === 'abort') return this.saslFailed('aborted');
    if (element.name === 'auth') return this.startExchange(element);
    if (element.name === 'response' && this.exchange !== undefined) return this.respond(element.text());
    return this.saslFailed('malformed-request');
  }

  private startExchange(element: Element): Next {
    const { host, transport } = this.connection;
    if (!host.gate.mayAuthenticate(transport.remoteAddress)) {
      count(counters.drops, 'failed_authentications_per_minute');
      return this.saslFailed('temporary-auth-failure', 'too many failed logins from this address');
    }
    const context = this.context();
    const mechanism = element.attr('mechanism') ?? '';
    this.exchange = host.authenticator.start(context, mechanism);
    if (this.exchange === undefined) {
      return this.saslFailed(host.authenticator.refusal(context, mechanism) ?? 'invalid-mechanism');
    }
    const initial = element.text();
    // No initial response: an empty challenge asks for it (RFC 6120 §6.4.3).
    if (initial === '') {
      this.connection.sendNonza(`<challenge xmlns='${NS_SASL}'/>`);
      return undefined;
    }
    return this.respond(initial);
  }

  private respond(text: string): Next {
    // "=" is an empty response (RFC 6120 §6.4.2).
    const data = decodeBase64(text === '=' ? '' : text);
    if (data === undefined) return this.saslFailed('incorrect-encoding');
    const step = this.exchange!.respond(data);
    return step instanceof Promise ? step.then((settled) => this.step(settled)) : this.step(step);
  }

  private step(step: SaslStep): StreamFailure | undefined {
    if (this.connection.isOver) return undefined;
    if (step.kind === 'challenge') {
      this.connection.sendNonza(`<challenge xmlns='${NS_SASL}'>${step.data.toString('base64')}</challenge>`);
      return undefined;
    }
    if (step.kind === 'failure') return this.saslFailed(step.condition, step.text);
    const { host, handle, transport } = this.connection;
    // RFC 6120 §6.4.6; what was said in the clear may not have been said by this client.
    if (transport.secure && !this.speaksFor(step.user)) return MISTAKEN;
    counters.logins++;
    host.log.debug(
      { connection: this.connection.id, user: step.user, mechanism: this.exchange?.mechanism },
      'logged in',
    );
    this.exchange = undefined;
    this.user = step.user;
    const data = step.data === undefined ? '' : step.data.length === 0 ? '=' : step.data.toString('base64');
    this.connection.sendNonza(`<success xmlns='${NS_SASL}'>${data}</success>`);
    host.scanner.limit(handle, host.config.limits.stanza_bytes);
    this.connection.restart();
    return undefined;
  }

  private saslFailed(condition: string, text?: string): StreamFailure | undefined {
    const { host, transport } = this.connection;
    this.exchange = undefined;
    count(counters.loginFailures, condition);
    host.log.info(
      { connection: this.connection.id, address: transport.remoteAddress, condition, text },
      'a login failed',
    );
    if (condition !== 'aborted') host.gate.failed(transport.remoteAddress);
    const words = text === undefined ? '' : `<text xml:lang='en'>${escapeAttr(text)}</text>`;
    this.connection.sendNonza(`<failure xmlns='${NS_SASL}'><${condition}/>${words}</failure>`);
    if (++this.failures >= host.config.limits.authentication_attempts) {
      return { condition: 'policy-violation', text: 'too many failed logins' };
    }
    return undefined;
  }

  // --- resource binding (RFC 6120 §7), session (RFC 3921 §3, kept for old clients), registration (XEP-0077) -----------

  private iq(iq: Element): Next {
    const type = iq.attr('type');
    const payload = iq.elements()[0];
    if ((type !== 'get' && type !== 'set') || payload === undefined) {
      return { condition: 'not-authorized', text: 'only binding and registration are possible before a session' };
    }
    if (iq.attr('id') === undefined) {
      this.answer(iq, refuse('bad-request'));
      return undefined;
    }
    if (this.user === undefined) {
      if (payload.ns !== NS_REGISTER || this.mustSecure) {
        return { condition: 'not-authorized', text: this.mustSecure ? 'use STARTTLS first' : 'authenticate first' };
      }
      return this.register(iq, type, payload);
    }
    if (payload.ns !== NS_BIND || payload.name !== 'bind' || type !== 'set') {
      return { condition: 'not-authorized', text: 'bind a resource first' };
    }
    return this.bindResource(iq, payload);
  }

  private async register(iq: Element, type: 'get' | 'set', query: Element): Promise<StreamFailure | undefined> {
    const { host, transport } = this.connection;
    this.answer(iq, await host.register(type, query, transport.remoteAddress));
    return undefined;
  }

  private async bindResource(iq: Element, bind: Element): Promise<StreamFailure | undefined> {
    const { connection } = this;
    const wanted = bind.child('resource')?.text();
    const bound = await connection.host.bind(connection, this.user!, wanted === '' ? undefined : wanted);
    if (bound instanceof StanzaError) {
      this.answer(iq, bound);
      // RFC 6120 §7.7.3.
      if (++this.refusals < connection.host.config.limits.authentication_attempts) return undefined;
      return { condition: 'policy-violation', text: 'too many resources that cannot be bound' };
    }
    if (connection.isOver) {
      bound.detached(true);
      return undefined;
    }
    connection.sendStanza(
      `<iq type='result' id='${escapeAttr(iq.attr('id') ?? '')}'><bind xmlns='${NS_BIND}'><jid>${escapeAttr(bound.address)}</jid></bind></iq>`,
    );
    connection.bind(bound);
    return undefined;
  }

  private answer(iq: Element, answer: Element | StanzaError | undefined): void {
    const id = escapeAttr(iq.attr('id') ?? '');
    if (answer instanceof StanzaError) count(counters.stanzaErrors, answer.condition);
    const body =
      answer instanceof StanzaError
        ? answer.toElement().serialize('jabber:client')
        : (answer?.serialize('jabber:client') ?? '');
    this.connection.sendStanza(
      `<iq type='${answer instanceof StanzaError ? 'error' : 'result'}' id='${id}' from='${this.connection.host.config.domain}'>${body}</iq>`,
    );
  }

  // --- resumption (XEP-0198 §5) --------------------------------------------------------------------------------------

  private resume(element: Element): Next {
    const previd = element.attr('previd');
    const h = element.attr('h');
    const asked = element.name === 'resume' && previd !== undefined && h !== undefined && /^\d{1,10}$/.test(h);
    // Out of turn it is refused, and no more (XEP-0198 §3): before authentication, and <enable/> before binding.
    if (!asked || this.user === undefined) {
      this.connection.sendNonza(smFailed('unexpected-request'));
      return undefined;
    }
    return this.resumeAs(this.user, previd, Number(h) >>> 0);
  }

  private async resumeAs(user: string, previd: string, h: number): Promise<undefined> {
    const { connection } = this;
    const failure = await connection.host.resume(connection, user, previd, h);
    if (failure !== undefined) counters.resumeFailed++;
    if (failure !== undefined && !connection.isOver) connection.sendNonza(smFailed(failure.condition, failure.h));
    return undefined;
  }
}

/** Something else where a framed stream has to be opened (RFC 7395 §3.3.2, §3.4). */
function noHeader({ name }: Element): StreamFailure {
  if (name !== 'open' && name !== 'close' && name !== 'stream') {
    return { condition: 'bad-format', text: 'a stream header is needed first' };
  }
  return { condition: 'invalid-namespace', text: `<open/> is in ${NS_FRAMING}` };
}

function smFailed(condition: string, h?: number): string {
  return `<failed xmlns='${NS_SM}'${h === undefined ? '' : ` h='${h}'`}><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`;
}

/** A WebSocket in the clear is served on loopback, or behind a proxy that ends TLS: there PLAIN is as safe as the link. */
function isLoopbackWebSocket(connection: Connection): boolean {
  const { kind, remoteAddress } = connection.transport;
  return (
    kind === 'websocket' && /^(127\.|::1$|0000:0000:0000:0000:0000:0000:0000:0001$|::ffff:127\.)/.test(remoteAddress)
  );
}
