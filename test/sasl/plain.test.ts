import { describe, expect, test } from 'vitest';
import { Derivation } from '../../src/stream/sasl/derivation.js';
import { context, house, outcome } from './harness.js';

const message = (...parts: string[]) => Buffer.from(parts.join('\0'));

describe('PLAIN (RFC 4616)', () => {
  test.each<[string, Buffer, string]>([
    ['user and password', message('', 'juliet', 'r0m30'), 'success juliet'],
    ['its own address to act as', message('juliet@localhost', 'juliet', 'r0m30'), 'success juliet'],
    ['its own address, written otherwise', message('JULIET@LOCALHOST', 'Juliet', 'r0m30'), 'success juliet'],
    ['a wrong password', message('', 'juliet', 'wrong'), 'not-authorized'],
    ['no such account', message('', 'ghost', 'r0m30'), 'not-authorized'],
    ['a name that cannot be one', message('', 'ju liet', 'r0m30'), 'not-authorized'],
    ['an address for a name', message('', 'juliet@localhost', 'r0m30'), 'not-authorized'],
    ['a password with forbidden characters', message('', 'juliet', 'r0\u0007'), 'not-authorized'],
    ['somebody else to act as', message('romeo@localhost', 'juliet', 'r0m30'), 'invalid-authzid'],
    ['another domain to act as', message('juliet@example.org', 'juliet', 'r0m30'), 'invalid-authzid'],
    ['a full JID to act as', message('juliet@localhost/balcony', 'juliet', 'r0m30'), 'invalid-authzid'],
    ['a name to act as that is no JID', message('juliet', 'juliet', 'r0m30'), 'invalid-authzid'],
    ['nothing', Buffer.alloc(0), 'malformed-request'],
    ['no password', message('', 'juliet', ''), 'malformed-request'],
    ['no name', message('', '', 'r0m30'), 'malformed-request'],
    ['two parts', message('juliet', 'r0m30'), 'malformed-request'],
    ['four parts', message('', 'juliet', 'r0m30', ''), 'malformed-request'],
    ['no UTF-8', Buffer.from([0, 0x61, 0, 0xff]), 'malformed-request'],
  ])('%s', async (_what, data, expected) => {
    const { authenticator } = await house();
    const exchange = authenticator.start(context(), 'PLAIN')!;
    expect(outcome(await exchange.respond(data))).toBe(expected);
    expect(outcome(await exchange.respond(message('', 'juliet', 'r0m30')))).toBe('malformed-request');
  });

  test('names and passwords of 255 octets and more are taken', async () => {
    const { accounts, authenticator } = await house();
    const [user, password] = ['u'.repeat(1000), '\u00e9'.repeat(500)];
    expect(await accounts.create(user, password)).toBe('created');
    const exchange = authenticator.start(context(), 'PLAIN')!;
    expect(outcome(await exchange.respond(message('', user, password)))).toBe(`success ${user}`);
  });

  test('an account that does not exist costs a derivation like one that does', async () => {
    let derivations = 0;
    class Counted extends Derivation {
      override derive(...args: Parameters<Derivation['derive']>) {
        derivations++;
        return super.derive(...args);
      }
    }
    const { authenticator } = await house({ derivation: new Counted() });
    derivations = 0;
    await authenticator.start(context(), 'PLAIN')!.respond(message('', 'ghost', 'wrong'));
    expect(derivations).toBe(1);
    await authenticator.start(context(), 'PLAIN')!.respond(message('', 'juliet', 'wrong'));
    expect(derivations).toBe(2);
  });
});
