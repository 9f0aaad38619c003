import { describe, expect, test } from 'vitest';
import { selfSigned } from '../tls/authority.js';
import { context, house, outcome } from './harness.js';

/** An exchange of a client whose verified certificate names these addresses; the accounts juliet and romeo exist. */
async function login(addresses: string[], authzid: string | Buffer) {
  const { accounts, store, authenticator } = await house();
  await accounts.create('romeo', 'secret');
  const { der } = selfSigned({ dns: ['device.example'], xmpp: addresses });
  const exchange = authenticator.start(context({ certificate: der }), 'EXTERNAL')!;
  return { store, exchange, step: await exchange.respond(Buffer.from(authzid)) };
}

describe('EXTERNAL (XEP-0178 §2)', () => {
  test.each<[string, string[], string, string]>([
    ['one address, nothing to act as', ['juliet@localhost'], '', 'success juliet'],
    ['one address, the same to act as', ['juliet@localhost'], 'juliet@localhost', 'success juliet'],
    ['both written otherwise', ['JULIET@LocalHost'], 'Juliet@LOCALHOST', 'success juliet'],
    ['one address, another to act as', ['juliet@localhost'], 'romeo@localhost', 'invalid-authzid'],
    [
      'several addresses, one of them to act as',
      ['juliet@localhost', 'romeo@localhost'],
      'romeo@localhost',
      'success romeo',
    ],
    ['several addresses, none said', ['juliet@localhost', 'romeo@localhost'], '', 'invalid-authzid'],
    ['the same address twice', ['juliet@localhost', 'Juliet@localhost'], '', 'success juliet'],
    ['one account among addresses without', ['ghost@localhost', 'juliet@localhost'], '', 'success juliet'],
    ['one of ours among those of others', ['juliet@example.org', 'romeo@localhost'], '', 'success romeo'],
    ['an address of another domain', ['juliet@example.org'], '', 'not-authorized'],
    [
      'an address of another domain to act as',
      ['juliet@localhost', 'juliet@example.org'],
      'juliet@example.org',
      'invalid-authzid',
    ],
    ['no such account', ['ghost@localhost'], '', 'not-authorized'],
    ['no such account, said', ['ghost@localhost'], 'ghost@localhost', 'not-authorized'],
    ['no address at all', [], '', 'not-authorized'],
    ['no address at all, one to act as', [], 'juliet@localhost', 'not-authorized'],
    ['a domain for an address', ['localhost'], '', 'not-authorized'],
    ['a full JID for an address', ['juliet@localhost/balcony'], '', 'not-authorized'],
    ['a malformed address', ['@@', 'ju liet@localhost'], '', 'not-authorized'],
    ['a full JID to act as', ['juliet@localhost'], 'juliet@localhost/balcony', 'invalid-authzid'],
    ['a name to act as that is no JID', ['juliet@localhost'], 'juliet', 'invalid-authzid'],
    ['nonsense to act as', ['juliet@localhost'], '@', 'invalid-authzid'],
    ['a NUL to act as', ['juliet@localhost'], 'juliet\0', 'malformed-request'],
  ])('%s', async (_what, addresses, authzid, expected) => {
    const { exchange, step } = await login(addresses, authzid);
    expect(outcome(step)).toBe(expected);
    expect(outcome(await exchange.respond(Buffer.alloc(0)))).toBe('malformed-request');
  });

  test('what is not UTF-8 is malformed', async () => {
    expect(outcome((await login(['juliet@localhost'], Buffer.from([0xff]))).step)).toBe('malformed-request');
  });

  test('the store fails: temporary-auth-failure', async () => {
    const { store, authenticator } = await house();
    const { der } = selfSigned({ xmpp: ['juliet@localhost'] });
    store.failing = true;
    for (const authzid of ['', 'juliet@localhost']) {
      const exchange = authenticator.start(context({ certificate: der }), 'EXTERNAL')!;
      expect(outcome(await exchange.respond(Buffer.from(authzid)))).toBe('temporary-auth-failure');
    }
  });
});
