import type { Element } from '../xml/element.js';
import { escapeAttr } from '../xml/escape.js';
import { counters, count } from '../metrics/counters.js';
import type { Connection, Next } from './connection.js';
import type { StreamFailure } from './errors.js';
import { Shared } from './outbox.js';
import { decodeBase64 } from './sasl/base64.js';
import type { Exchange, SaslContext, SaslStep } from './sasl/types.js';
import { TcpTransport } from './tcp.js';
import { channelBindings, clientCertificate } from './tls/bindings.js';
import { WebSocketTransport } from './websocket.js';

export const NS_SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
export const MISTAKEN: StreamFailure = {
  condition: 'invalid-from',
  text: 'this is not the account that is logged in',
};
const SUCCESS = new Shared(Buffer.from(`<success xmlns='${NS_SASL}'/>`), undefined, true);

/** SASL on one stream (RFC 6120 §6): from the first attempt to the account that is logged in. */
export class Login {
  /** The authenticated account's localpart. */
  user: string | undefined;
  private exchange: Exchange | undefined;
  private failures = 0;

  constructor(private readonly connection: Connection) {}

  /** The connection is gone. */
  abort(): void {
    this.exchange = undefined;
  }

  /** The header names nobody, or the account that is logged in. */
  speaksFor(user: string): boolean {
    const { claimed, host } = this.connection;
    return claimed === undefined || (claimed.local === user && claimed.domain === host.config.domain);
  }

  /** TLS has to come first: always on TCP unless the configuration makes it optional. */
  get mustSecure(): boolean {
    const { host, transport } = this.connection;
    return transport.kind === 'tcp' && host.config.c2s.tls === 'required';
  }

  /** What mechanisms may know of the connection. */
  context(): SaslContext {
    const { host, transport } = this.connection;
    const tls = transport instanceof TcpTransport ? transport.tls : undefined;
    return {
      domain: host.config.domain,
      secure: transport.secure,
      plainAllowed: transport.secure || host.config.c2s.tls === 'optional' || isLoopbackWebSocket(this.connection),
      bindings: tls === undefined ? {} : channelBindings(tls),
      certificate: tls === undefined ? undefined : clientCertificate(tls),
    };
  }

  /** Any element of SASL. */
  element(element: Element): Next {
    const refused = this.refuses();
    if (refused !== undefined) return refused.failure;
    if (element.name === 'abort') return this.failed('aborted');
    if (element.name === 'auth') return this.start(element.attr('mechanism') ?? '', element.text());
    if (element.name === 'response') return this.respond(element.text());
    return this.failed('malformed-request');
  }

  /** `<auth/>`, or `<response/>` without a mechanism. */
  message(mechanism: string | undefined, text: string): Next {
    const refused = this.refuses();
    if (refused !== undefined) return refused.failure;
    return mechanism === undefined ? this.respond(text) : this.start(mechanism, text);
  }

  /** Why no authentication is possible now; the failure is undefined where the stream goes on. */
  private refuses(): { failure: StreamFailure | undefined } | undefined {
    if (this.user !== undefined) return { failure: { condition: 'not-authorized', text: 'already authenticated' } };
    return this.mustSecure ? { failure: this.failed('encryption-required') } : undefined;
  }

  private start(mechanism: string, initial: string): Next {
    const { host, transport } = this.connection;
    if (!host.gate.mayAuthenticate(transport.remoteAddress)) {
      count(counters.drops, 'failed_authentications_per_minute');
      return this.failed('temporary-auth-failure', 'too many failed logins from this address');
    }
    const context = this.context();
    this.exchange = host.authenticator.start(context, mechanism);
    if (this.exchange === undefined) {
      return this.failed(host.authenticator.refusal(context, mechanism) ?? 'invalid-mechanism');
    }
    // No initial response: an empty challenge asks for it (RFC 6120 §6.4.3).
    if (initial === '') {
      this.connection.sendNonza(`<challenge xmlns='${NS_SASL}'/>`);
      return undefined;
    }
    return this.respond(initial);
  }

  private respond(text: string): Next {
    if (this.exchange === undefined) return this.failed('malformed-request');
    // "=" is an empty response (RFC 6120 §6.4.2).
    const data = decodeBase64(text === '=' ? '' : text);
    if (data === undefined) return this.failed('incorrect-encoding');
    const step = this.exchange.respond(data);
    return step instanceof Promise ? step.then((settled) => this.step(settled)) : this.step(step);
  }

  private step(step: SaslStep): StreamFailure | undefined {
    if (this.connection.isOver) return undefined;
    if (step.kind === 'challenge') {
      this.connection.sendNonza(`<challenge xmlns='${NS_SASL}'>${step.data.toString('base64')}</challenge>`);
      return undefined;
    }
    if (step.kind === 'failure') return this.failed(step.condition, step.text);
    const { host, stream, transport } = this.connection;
    // RFC 6120 §6.4.6; what was said in the clear may not have been said by this client.
    if (transport.secure && !this.speaksFor(step.user)) return MISTAKEN;
    counters.logins++;
    host.log.debug(
      { connection: this.connection.id, user: step.user, mechanism: this.exchange?.mechanism },
      'logged in',
    );
    this.exchange = undefined;
    this.user = step.user;
    if (step.data === undefined) this.connection.outbox.push(undefined, SUCCESS);
    else {
      const data = step.data.length === 0 ? '=' : step.data.toString('base64');
      this.connection.sendNonza(`<success xmlns='${NS_SASL}'>${data}</success>`);
    }
    host.scanner.limit(stream, host.config.limits.stanza_bytes);
    this.connection.restart();
    return undefined;
  }

  private failed(condition: string, text?: string): StreamFailure | undefined {
    const { host, transport } = this.connection;
    this.exchange = undefined;
    count(counters.loginFailures, condition);
    host.log.info(
      { connection: this.connection.id, address: transport.remoteAddress, condition, text },
      'a login failed',
    );
    // That we have too much to do says nothing of who asks.
    if (condition !== 'aborted' && condition !== 'temporary-auth-failure') host.gate.failed(transport.remoteAddress);
    const words = text === undefined ? '' : `<text xml:lang='en'>${escapeAttr(text)}</text>`;
    this.connection.sendNonza(`<failure xmlns='${NS_SASL}'><${condition}/>${words}</failure>`);
    if (++this.failures >= host.config.limits.authentication_attempts) {
      return { condition: 'policy-violation', text: 'too many failed logins' };
    }
    return undefined;
  }
}

/** A WebSocket in the clear is served on loopback, or behind a proxy that ends TLS: there PLAIN is as safe as the link. */
function isLoopbackWebSocket(connection: Connection): boolean {
  const { transport } = connection;
  return (
    transport instanceof WebSocketTransport &&
    /^(127\.|::1$|0000:0000:0000:0000:0000:0000:0000:0001$|::ffff:127\.)/.test(transport.peerAddress)
  );
}
