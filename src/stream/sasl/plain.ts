import type { Accounts } from './accounts.js';
import { isOwnAddress, preparePassword, prepareUser, utf8 } from './prepare.js';
import { failure, type Exchange, type SaslContext, type SaslStep } from './types.js';

/** message = [authzid] NUL authcid NUL passwd (RFC 4616 §2). */
const MESSAGE = /^([^\0]*)\0([^\0]+)\0([^\0]+)$/;

/** PLAIN (RFC 4616): one message with the password. */
export class Plain implements Exchange {
  readonly mechanism = 'PLAIN';
  private over = false;

  constructor(
    private readonly context: SaslContext,
    private readonly accounts: Accounts,
  ) {}

  respond(data: Buffer): SaslStep | Promise<SaslStep> {
    const match = this.over ? null : MESSAGE.exec(utf8(data) ?? '');
    this.over = true;
    if (match === null) return failure('malformed-request');
    const [, authzid, authcid, passwd] = match;
    const user = prepareUser(authcid);
    const password = preparePassword(passwd);
    if (user === undefined || password === undefined) return failure('not-authorized');
    // Before the password is looked at: the answer depends on the message alone, and costs no derivation.
    if (authzid !== '' && !isOwnAddress(authzid, user, this.context.domain)) return failure('invalid-authzid');
    return this.accounts.knows(user, password) ? { kind: 'success', user } : this.verify(user, password);
  }

  private async verify(user: string, password: string): Promise<SaslStep> {
    const right = await this.accounts.verifyPrepared(user, password);
    return right ? { kind: 'success', user } : failure('not-authorized');
  }
}
