import type { AccountStore } from '../../store/store.js';
import type { Accounts } from './accounts.js';
import { DerivationBusy } from './derivation.js';
import { External } from './external.js';
import { Plain } from './plain.js';
import { Scram, type ScramServices } from './scram.js';
import { failure, type Exchange, type SaslCondition, type SaslContext, type SaslStep } from './types.js';

export { CHANNEL_BINDING_TYPES } from './types.js';

export interface AuthenticatorOptions {
  /** The server's lasting secret (`serverSecret`), the same in all workers. */
  secret: Buffer;
  /** PBKDF2 iterations that are shown for accounts that do not exist: those of new accounts. */
  iterations: number;
  /** Told why an exchange ended in temporary-auth-failure, when a store or the thread pool failed. */
  onError?: (error: unknown) => void;
  /** The server's part of SCRAM nonces; random unless given. */
  nonce?: () => string;
}

interface Services extends ScramServices {
  accounts: Accounts;
}

interface Mechanism {
  /** Why the mechanism cannot be used on such a connection. */
  refuses(context: SaslContext): SaslCondition | undefined;
  start(context: SaslContext, services: Services): Exchange;
}

const canBind = ({ bindings }: SaslContext) => Object.values(bindings).some((data) => data !== undefined);

function scram(name: string, hash: 'sha1' | 'sha256', plus: boolean): [string, Mechanism] {
  return [
    name,
    {
      refuses: (context) => (plus && !canBind(context) ? 'invalid-mechanism' : undefined),
      start: (context, services) => new Scram(name, hash, plus, context, services),
    },
  ];
}

/** In the order of the offer: EXTERNAL first (RFC 6120 §6.3.4), then the strongest. */
const MECHANISMS = new Map<string, Mechanism>([
  [
    'EXTERNAL',
    {
      refuses: ({ certificate }) => (certificate === undefined ? 'invalid-mechanism' : undefined),
      start: (context, { store }) => new External({ ...context, certificate: context.certificate! }, store),
    },
  ],
  scram('SCRAM-SHA-256-PLUS', 'sha256', true),
  scram('SCRAM-SHA-1-PLUS', 'sha1', true),
  scram('SCRAM-SHA-256', 'sha256', false),
  scram('SCRAM-SHA-1', 'sha1', false),
  [
    'PLAIN',
    {
      refuses: ({ plainAllowed }) => (plainAllowed ? undefined : 'encryption-required'),
      start: (context, { accounts }) => new Plain(context, accounts),
    },
  ],
]);

/** Offers mechanisms and runs exchanges (RFC 6120 §6). */
export class Authenticator {
  private readonly services: Services;
  private readonly onError: (error: unknown) => void;

  constructor(accounts: Accounts, store: AccountStore, options: AuthenticatorOptions) {
    const { secret, iterations, nonce } = options;
    this.services = { accounts, store, secret, iterations, nonce };
    this.onError = options.onError ?? (() => undefined);
  }

  /** What to offer on this connection, the preferred first. */
  mechanisms(context: SaslContext): string[] {
    return [...MECHANISMS].filter(([, { refuses }]) => refuses(context) === undefined).map(([name]) => name);
  }

  /**
   * Why `mechanism` (as the client wrote it) cannot be started here: encryption-required for PLAIN in the clear,
   * invalid-mechanism for what is not offered; undefined when it can.
   */
  refusal(context: SaslContext, mechanism: string): SaslCondition | undefined {
    const known = MECHANISMS.get(mechanism);
    return known === undefined ? 'invalid-mechanism' : known.refuses(context);
  }

  /** A new exchange; undefined where {@link refusal} has a reason. */
  start(context: SaslContext, mechanism: string): Exchange | undefined {
    if (this.refusal(context, mechanism) !== undefined) return undefined;
    const exchange = MECHANISMS.get(mechanism)!.start(context, this.services);
    return { mechanism, respond: (data) => this.guard(exchange, data) };
  }

  private guard(exchange: Exchange, data: Buffer): SaslStep | Promise<SaslStep> {
    try {
      const step = exchange.respond(data);
      return step instanceof Promise ? step.catch((error: unknown) => this.broken(error)) : step;
    } catch (error) {
      return this.broken(error);
    }
  }

  /** A store or thread pool that fails is not the client's fault: it may try again (RFC 6120 §6.5.11). */
  private broken(error: unknown): SaslStep {
    // Said to each client of a flood, but not once each to the log.
    if (error instanceof DerivationBusy) return failure('temporary-auth-failure', 'too many logins at once');
    this.onError(error);
    return failure('temporary-auth-failure');
  }
}
