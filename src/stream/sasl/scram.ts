import { randomBytes } from 'node:crypto';
import type { AccountStore, ScramKeys } from '../../store/store.js';
import { decoyKeys, proofFits, serverSignature, type ScramHash } from './keys.js';
import { isOwnAddress, prepareUser, utf8 } from './prepare.js';
import { parseClientFinal, parseClientFirst, type ClientFirst, type ScramError } from './scram-messages.js';
import { failure, type ChannelBindingType, type Exchange, type SaslCondition, type SaslContext } from './types.js';
import type { SaslStep } from './types.js';

export interface ScramServices {
  store: AccountStore;
  /** Of the server: salts of accounts that do not exist come from it. */
  secret: Buffer;
  /** What is shown for them. */
  iterations: number;
  /** The server's part of the nonce: printable, without comma. */
  nonce?: () => string;
}

/** Which SASL failure (RFC 6120 §6.5) a SCRAM error is; its own name goes into the text. */
const CONDITIONS: Record<ScramError, SaslCondition> = {
  'invalid-encoding': 'malformed-request',
  'extensions-not-supported': 'malformed-request',
  'invalid-username-encoding': 'malformed-request',
  'channel-binding-not-supported': 'malformed-request',
  'other-error': 'malformed-request',
  'channel-bindings-dont-match': 'not-authorized',
  'unsupported-channel-binding-type': 'not-authorized',
  'server-does-support-channel-binding': 'not-authorized',
};

const NONCE_BYTES = 18;
const randomNonce = () => randomBytes(NONCE_BYTES).toString('base64');

/** SCRAM-SHA-1, SCRAM-SHA-256 and their -PLUS variants (RFC 5802, RFC 7677), the server's side. */
export class Scram implements Exchange {
  private state: 'first' | 'final' | 'over' = 'first';
  private user = '';
  private nonce = '';
  /** gs2-header and channel binding data that the client has to repeat. */
  private channelBinding: Buffer = Buffer.alloc(0);
  /** What both signatures cover so far: client-first-message-bare and server-first-message. */
  private transcript = '';

  constructor(
    readonly mechanism: string,
    private readonly hash: ScramHash,
    private readonly plus: boolean,
    private readonly context: SaslContext,
    private readonly services: ScramServices,
  ) {}

  respond(data: Buffer): SaslStep | Promise<SaslStep> {
    const { state } = this;
    this.state = 'over';
    const message = utf8(data);
    if (message === undefined || state === 'over') return failure('malformed-request');
    return state === 'first' ? this.first(message) : this.final(message);
  }

  private first(text: string): SaslStep | Promise<SaslStep> {
    const message = parseClientFirst(text);
    if (typeof message === 'string') return refuse(message);
    const bound = this.bind(message);
    if (typeof bound === 'string') return refuse(bound);
    const user = prepareUser(message.username);
    // No account has such a name, and whoever sent it knows that: nothing is given away.
    if (user === undefined) return failure('not-authorized');
    if (message.authzid !== undefined && !isOwnAddress(message.authzid, user, this.context.domain)) {
      return failure('invalid-authzid');
    }
    this.user = user;
    this.channelBinding = bound;
    this.nonce = message.nonce + (this.services.nonce ?? randomNonce)();
    return this.challenge(message.bare);
  }

  /** What the client must repeat in `c=`, by its flag (RFC 5802 §6). */
  private bind({ flag, binding, gs2Header }: ClientFirst): Buffer | ScramError {
    const { bindings } = this.context;
    if (flag === 'p') {
      if (!this.plus) return 'channel-binding-not-supported';
      const data = Object.hasOwn(bindings, binding) ? bindings[binding as ChannelBindingType] : undefined;
      return data === undefined ? 'unsupported-channel-binding-type' : Buffer.concat([Buffer.from(gs2Header), data]);
    }
    if (this.plus) return 'other-error';
    // The client could bind and saw no -PLUS mechanism, yet we offered one: somebody between us took it away.
    if (flag === 'y' && Object.values(bindings).some((data) => data !== undefined)) {
      return 'server-does-support-channel-binding';
    }
    return Buffer.from(gs2Header);
  }

  private async challenge(bare: string): Promise<SaslStep> {
    const { keys } = await this.keys();
    const serverFirst = `r=${this.nonce},s=${Buffer.from(keys.salt).toString('base64')},i=${keys.iterations}`;
    this.transcript = `${bare},${serverFirst}`;
    this.state = 'final';
    return { kind: 'challenge', data: Buffer.from(serverFirst) };
  }

  private async final(text: string): Promise<SaslStep> {
    const message = parseClientFinal(text);
    if (typeof message === 'string') return refuse(message);
    if (message.nonce !== this.nonce) return failure('not-authorized');
    if (!message.channelBinding.equals(this.channelBinding)) return refuse('channel-bindings-dont-match');
    // The account as it is now: it may have been removed, or its password changed, since the challenge.
    const { keys, known } = await this.keys();
    const authMessage = `${this.transcript},${message.withoutProof}`;
    if (!proofFits(this.hash, keys.storedKey, authMessage, message.proof) || !known) return failure('not-authorized');
    const signature = serverSignature(this.hash, keys.serverKey, authMessage).toString('base64');
    return { kind: 'success', user: this.user, data: Buffer.from(`v=${signature}`) };
  }

  private async keys(): Promise<{ keys: ScramKeys; known: boolean }> {
    const { store, secret, iterations } = this.services;
    // Made in either case, so that both take the same time.
    const decoy = decoyKeys(secret, this.user, iterations, this.hash);
    const account = await store.get(this.user);
    return { keys: account?.[this.hash] ?? decoy, known: account !== undefined };
  }
}

function refuse(error: ScramError): SaslStep {
  return failure(CONDITIONS[error], error === 'other-error' ? undefined : error);
}
