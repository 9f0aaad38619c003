import { parseJid } from '../../jid/jid.js';
import type { AccountStore } from '../../store/store.js';
import { xmppAddresses } from '../tls/xmpp-address.js';
import { utf8 } from './prepare.js';
import { failure, type Exchange, type SaslContext, type SaslStep } from './types.js';

/**
 * EXTERNAL with a client certificate (RFC 4422 appendix A, XEP-0178 §2): the TLS layer has verified the certificate; its
 * xmppAddr names say which accounts it opens.
 */
export class External implements Exchange {
  readonly mechanism = 'EXTERNAL';
  private over = false;

  constructor(
    private readonly context: SaslContext & { certificate: Buffer },
    private readonly store: AccountStore,
  ) {}

  respond(data: Buffer): SaslStep | Promise<SaslStep> {
    const authzid = this.over ? undefined : utf8(data);
    this.over = true;
    if (authzid === undefined || authzid.includes('\0')) return failure('malformed-request');
    const users = usersOf(this.context.certificate, this.context.domain);
    if (users.length === 0) return failure('not-authorized', 'the certificate names no account of this domain');
    return authzid === '' ? this.derive(users) : this.authorize(authzid, users);
  }

  /** No authorization identity: the certificate has to name exactly one account (XEP-0178 §2 step 11). */
  private async derive(users: string[]): Promise<SaslStep> {
    const found = await Promise.all(users.map(async (user) => (await this.store.get(user)) !== undefined));
    const accounts = users.filter((_, index) => found[index]);
    if (accounts.length === 0) return failure('not-authorized');
    if (accounts.length > 1) return failure('invalid-authzid', 'the certificate names several accounts: say which');
    return { kind: 'success', user: accounts[0] };
  }

  private async authorize(authzid: string, users: string[]): Promise<SaslStep> {
    const jid = parseJid(authzid);
    if (jid === undefined || jid.resource !== '' || jid.domain !== this.context.domain || !users.includes(jid.local)) {
      return failure('invalid-authzid');
    }
    const account = await this.store.get(jid.local);
    return account === undefined ? failure('not-authorized') : { kind: 'success', user: jid.local };
  }
}

/** Localparts of our domain that the certificate names, each once. */
function usersOf(certificate: Buffer, domain: string): string[] {
  const users = new Set<string>();
  for (const address of xmppAddresses(certificate)) {
    const jid = parseJid(address);
    if (jid !== undefined && jid.domain === domain && jid.local !== '' && jid.resource === '') users.add(jid.local);
  }
  return [...users];
}
