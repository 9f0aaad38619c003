import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import type { ClusterSecrets } from '../redis/keyspace.js';
import { StoreError } from '../store/store.js';
import { Accounts } from '../stream/sasl/accounts.js';
import { Authenticator } from '../stream/sasl/authenticator.js';
import { ProofCache } from '../stream/sasl/proofs.js';
import type { Foundations } from './foundations.js';

/** Who may log in. */
export function openLogins(
  { store, bus }: Foundations,
  config: Config,
  secrets: ClusterSecrets,
  log: Logger,
): { accounts: Accounts; authenticator: Authenticator } {
  const { iterations, proof_capacity: capacity } = config.sasl;
  const proofs = new ProofCache({ key: secrets.proofKey, capacity, bus });
  const accounts = new Accounts(store.accounts, { iterations, proofs });
  const authenticator = new Authenticator(accounts, store.accounts, {
    secret: secrets.secret,
    iterations,
    // That the store is away is said once, by whoever asks it.
    onError: (error) => {
      if (!(error instanceof StoreError && error.reason === 'unavailable'))
        log.error({ err: error }, 'a login could not be checked');
    },
  });
  return { accounts, authenticator };
}
