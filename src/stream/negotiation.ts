import { E, KIND } from '../xml/envelope.js';
import type { Element } from '../xml/element.js';
import { escapeAttr } from '../xml/escape.js';
import { StanzaError, refuse } from './stanza-error.js';
import { counters, count } from '../metrics/counters.js';
import type { Connection, Next } from './connection.js';
import type { StreamFailure } from './errors.js';
import { NS_CLIENT, NS_FRAMING, NS_STREAM } from './header.js';
import type { Bound } from './host.js';
import { Login, MISTAKEN, NS_SASL } from './login.js';
import { Shared } from './outbox.js';
import { CHANNEL_BINDING_TYPES } from './sasl/authenticator.js';
import { TcpTransport } from './tcp.js';
import { usualBind, usualSasl } from './usual.js';

const NS_TLS = 'urn:ietf:params:xml:ns:xmpp-tls';
const NS_BIND = 'urn:ietf:params:xml:ns:xmpp-bind';
const NS_SM = 'urn:xmpp:sm:3';
const NS_REGISTER = 'jabber:iq:register';

/** Stream negotiation (RFC 6120 §4.3): STARTTLS, SASL, then binding a resource or resuming a session. */
export class Negotiation {
  private readonly login: Login;
  /** Resources that could not be bound. */
  private refusals = 0;

  constructor(private readonly connection: Connection) {
    this.login = new Login(connection);
  }

  /** The peer's header is in order and ours is sent: say what may be negotiated (RFC 6120 §4.3.2). */
  opened(): Next {
    const { host, transport, outbox } = this.connection;
    const { user } = this.login;
    if (user !== undefined && !this.login.speaksFor(user)) return MISTAKEN;
    // A storm of reconnecting clients is offered the same few things over and over.
    const kind = user === undefined ? this.circumstances() : transport.framed ? 'bound framed' : 'bound';
    let offer = host.offers.get(kind);
    if (offer === undefined) {
      offer = this.features(user === undefined ? this.featuresBeforeLogin() : host.boundFeatures);
      host.offers.set(kind, offer);
    }
    outbox.push(undefined, offer);
    return undefined;
  }

  /** The connection is gone. */
  abort(): void {
    this.login.abort();
  }

  /** All that the features before authentication depend on. */
  private circumstances(): string {
    const { kind } = this.connection.transport;
    if (kind === 'tcp') return kind;
    const { plainAllowed, certificate, bindings } = this.login.context();
    const types = CHANNEL_BINDING_TYPES.filter((type) => bindings[type] !== undefined);
    return [kind, plainAllowed, certificate !== undefined, ...types].join();
  }

  private features(children: string): Shared {
    const namespaces = this.connection.transport.framed ? ` xmlns='${NS_CLIENT}' xmlns:stream='${NS_STREAM}'` : '';
    return new Shared(Buffer.from(`<stream:features${namespaces}>${children}</stream:features>`), undefined, true);
  }

  private featuresBeforeLogin(): string {
    const { host, transport } = this.connection;
    const { config, authenticator, loginFeatures } = host;
    const { mustSecure } = this.login;
    const canStartTls = !transport.secure && transport instanceof TcpTransport && host.certificates !== undefined;
    const tls = canStartTls ? `<starttls xmlns='${NS_TLS}'>${mustSecure ? '<required/>' : ''}</starttls>` : '';
    if (mustSecure) return tls + loginFeatures;
    const context = this.login.context();
    const bindings = CHANNEL_BINDING_TYPES.filter((type) => context.bindings[type] !== undefined);
    const mechanisms = authenticator.mechanisms(context).map((name) => `<mechanism>${name}</mechanism>`);
    const types = bindings.map((type) => `<channel-binding type='${type}'/>`);
    return [
      tls,
      `<mechanisms xmlns='${NS_SASL}'>${mechanisms.join('')}</mechanisms>`,
      types.length === 0
        ? ''
        : `<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>${types.join('')}</sasl-channel-binding>`,
      config.registration === 'open' ? "<register xmlns='http://jabber.org/features/iq-register'/>" : '',
      loginFeatures,
    ].join('');
  }

  /** One element before a session is bound. */
  element(): Next {
    const { scanner } = this.connection.host;
    if (this.connection.isOpen) {
      const sasl = usualSasl(scanner);
      if (sasl !== undefined) return this.login.message(sasl.mechanism, sasl.text);
      const bind = this.login.user === undefined ? undefined : usualBind(scanner);
      if (bind !== undefined) return this.bindResource(bind.id, bind.resource);
    }
    return this.other();
  }

  /** The same by its tree. */
  private other(): Next {
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
    if (element.ns === NS_SASL) return this.login.element(element);
    if (kind === KIND.iq) return this.iq(element);
    if (element.ns === NS_STREAM) return this.connection.unsupported(element);
    if (element.ns === NS_SM) return this.resume(element);
    if (kind === KIND.message || kind === KIND.presence || this.login.user === undefined) {
      return { condition: 'not-authorized', text: 'authenticate and bind a resource first' };
    }
    return this.connection.unsupported(element);
  }

  // --- STARTTLS (RFC 6120 §5) ----------------------------------------------------------------------------------------

  private startTls(): Next {
    const { connection } = this;
    const { host, transport } = connection;
    if (
      !(transport instanceof TcpTransport) ||
      transport.secure ||
      host.certificates === undefined ||
      this.login.user
    ) {
      connection.transport.writeNow(Buffer.from(`<failure xmlns='${NS_TLS}'/>`));
      connection.close();
      return undefined;
    }
    // Anything sent in the clear behind <starttls/> could be an attacker's: it must not count as sent in TLS.
    if (host.scanner.discard(connection.stream) > 0) {
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

  // --- resource binding (RFC 6120 §7), session (RFC 3921 §3, kept for old clients), registration (XEP-0077) -----------

  private iq(iq: Element): Next {
    const type = iq.attr('type');
    const payload = iq.elements()[0];
    if ((type !== 'get' && type !== 'set') || payload === undefined) {
      return { condition: 'not-authorized', text: 'only binding and registration are possible before a session' };
    }
    const id = iq.attr('id');
    if (id === undefined) {
      this.answer('', refuse('bad-request'));
      return undefined;
    }
    const { user, mustSecure } = this.login;
    if (user === undefined) {
      if (payload.ns !== NS_REGISTER || mustSecure) {
        return { condition: 'not-authorized', text: mustSecure ? 'use STARTTLS first' : 'authenticate first' };
      }
      return this.register(id, type, payload);
    }
    if (payload.ns !== NS_BIND || payload.name !== 'bind' || type !== 'set') {
      return { condition: 'not-authorized', text: 'bind a resource first' };
    }
    return this.bindResource(id, payload.child('resource')?.text() || undefined);
  }

  private async register(id: string, type: 'get' | 'set', query: Element): Promise<StreamFailure | undefined> {
    const { host, transport } = this.connection;
    this.answer(id, await host.register(type, query, transport.remoteAddress));
    return undefined;
  }

  private bindResource(id: string, wanted: string | undefined): Next {
    const { connection } = this;
    const bound = connection.host.bind(connection, this.login.user!, wanted);
    return bound instanceof Promise ? bound.then((settled) => this.bound(id, settled)) : this.bound(id, bound);
  }

  private bound(id: string, bound: Bound | StanzaError): StreamFailure | undefined {
    const { connection } = this;
    if (bound instanceof StanzaError) {
      this.answer(id, bound);
      // RFC 6120 §7.7.3.
      if (++this.refusals < connection.host.config.limits.authentication_attempts) return undefined;
      return { condition: 'policy-violation', text: 'too many resources that cannot be bound' };
    }
    if (connection.isOver) {
      bound.detached(true);
      return undefined;
    }
    connection.sendStanza(
      `<iq type='result' id='${escapeAttr(id)}'><bind xmlns='${NS_BIND}'><jid>${escapeAttr(bound.address)}</jid></bind></iq>`,
    );
    connection.bind(bound);
    return undefined;
  }

  private answer(id: string, answer: Element | StanzaError | undefined): void {
    if (answer instanceof StanzaError) count(counters.stanzaErrors, answer.condition);
    const body =
      answer instanceof StanzaError
        ? answer.toElement().serialize('jabber:client')
        : (answer?.serialize('jabber:client') ?? '');
    this.connection.sendStanza(
      `<iq type='${answer instanceof StanzaError ? 'error' : 'result'}' id='${escapeAttr(id)}' from='${this.connection.host.config.domain}'>${body}</iq>`,
    );
  }

  // --- resumption (XEP-0198 §5) --------------------------------------------------------------------------------------

  private resume(element: Element): Next {
    const previd = element.attr('previd');
    const h = element.attr('h');
    const asked = element.name === 'resume' && previd !== undefined && h !== undefined && /^\d{1,10}$/.test(h);
    // Out of turn it is refused, and no more (XEP-0198 §3): before authentication, and <enable/> before binding.
    if (!asked || this.login.user === undefined) {
      this.connection.sendNonza(smFailed('unexpected-request'));
      return undefined;
    }
    return this.resumeAs(this.login.user, previd, Number(h) >>> 0);
  }

  private async resumeAs(user: string, previd: string, h: number): Promise<StreamFailure | undefined> {
    const { connection } = this;
    const failure = await connection.host.resume(connection, user, previd, h);
    if (failure !== undefined) counters.resumeFailed++;
    if (failure !== undefined && 'stream' in failure) return failure.stream;
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
