import { pbkdf2Sync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Account, ScramKeys } from '../../src/store/store.js';
import { deriveKeys, type ScramHash } from '../../src/stream/sasl/keys.js';
import { Derivation } from '../../src/stream/sasl/derivation.js';
import { parseClientFinal, parseClientFirst } from '../../src/stream/sasl/scram-messages.js';
import { CLEAR, context, END_POINT, EXPORTER, house, ITERATIONS, outcome, scram } from './harness.js';

const text = (data: Buffer | undefined) => data?.toString();
const JULIET = { user: 'juliet', password: 'r0m30' };

describe('the examples of the standards', () => {
  const vectors: {
    name: string;
    mechanism: string;
    hash: ScramHash;
    salt: string;
    serverNonce: string;
    messages: string[];
  }[] = [
    {
      name: 'RFC 5802 §5',
      mechanism: 'SCRAM-SHA-1',
      hash: 'sha1',
      salt: 'QSXCR+Q6sek8bf92',
      serverNonce: '3rfcNHYJY1ZVvWVs7j',
      messages: [
        'n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL',
        'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
        'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
        'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
      ],
    },
    {
      name: 'RFC 7677 §3',
      mechanism: 'SCRAM-SHA-256',
      hash: 'sha256',
      salt: 'W22ZaJ0SNY7soEsUEjb6gQ==',
      serverNonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
      messages: [
        'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
        'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
        'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
        'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
      ],
    },
  ];

  test.each(vectors)('$name', async ({ mechanism, hash, salt, serverNonce, messages }) => {
    const { store, authenticator } = await house({ nonce: () => serverNonce });
    const keys: ScramKeys = await deriveKeys(new Derivation(), 'pencil', Buffer.from(salt, 'base64'), 4096, hash);
    store.accounts.set('user', { sha1: keys, sha256: keys, created: 0 });
    const exchange = authenticator.start(CLEAR, mechanism)!;
    const challenge = await exchange.respond(Buffer.from(messages[0]));
    expect(challenge).toEqual({ kind: 'challenge', data: Buffer.from(messages[1]) });
    const success = await exchange.respond(Buffer.from(messages[2]));
    expect(success).toEqual({ kind: 'success', user: 'user', data: Buffer.from(messages[3]) });
  });

  test('stored keys are those of RFC 5802 §3', async () => {
    const { store } = await house();
    const { sha1, sha256 } = store.accounts.get('juliet') as Account;
    for (const [hash, keys, length] of [
      ['sha1', sha1, 20],
      ['sha256', sha256, 32],
    ] as const) {
      expect(keys.iterations).toBe(ITERATIONS);
      expect(keys.salt).toHaveLength(16);
      const again = await deriveKeys(new Derivation(), 'r0m30', keys.salt, keys.iterations, hash);
      expect(again).toEqual(keys);
      expect(keys.storedKey).toHaveLength(length);
      expect(Buffer.from(keys.storedKey)).not.toEqual(pbkdf2Sync('r0m30', keys.salt, ITERATIONS, length, hash));
    }
  });
});

describe('a login', () => {
  test.each(['SCRAM-SHA-1', 'SCRAM-SHA-256'])('%s succeeds with the password and fails without', async (mechanism) => {
    const { authenticator } = await house();
    expect(outcome(await scram(authenticator, CLEAR, { mechanism, ...JULIET }))).toBe('success juliet');
    const wrong = await scram(authenticator, CLEAR, { mechanism, user: 'juliet', password: 'wrong' });
    expect(wrong).toEqual({ kind: 'failure', condition: 'not-authorized' });
  });

  test.each([
    ['SCRAM-SHA-1-PLUS', 'tls-exporter', EXPORTER],
    ['SCRAM-SHA-256-PLUS', 'tls-exporter', EXPORTER],
    ['SCRAM-SHA-1-PLUS', 'tls-server-end-point', END_POINT],
    ['SCRAM-SHA-256-PLUS', 'tls-server-end-point', END_POINT],
  ])('%s binds to the channel by %s', async (mechanism, type, binding) => {
    const { authenticator } = await house();
    const step = await scram(authenticator, context(), { mechanism, ...JULIET, gs2: `p=${type},,`, binding });
    expect(outcome(step)).toBe('success juliet');
  });

  test('the name is prepared, and the signatures cover it as it was sent', async () => {
    const { authenticator } = await house();
    const step = await scram(authenticator, CLEAR, { mechanism: 'SCRAM-SHA-256', user: 'JuLiet', password: 'r0m30' });
    expect(outcome(step)).toBe('success juliet');
  });

  test('=2C and =3D in the name stand for comma and equals sign', async () => {
    const { accounts, authenticator } = await house();
    await accounts.create('a,b=c', 'secret');
    const step = await scram(authenticator, CLEAR, { mechanism: 'SCRAM-SHA-1', user: 'a,b=c', password: 'secret' });
    expect(outcome(step)).toBe('success a,b=c');
  });

  test('extensions that nobody knows are passed over', async () => {
    const { authenticator } = await house();
    const step = await scram(authenticator, CLEAR, { mechanism: 'SCRAM-SHA-1', ...JULIET, nonce: 'abc,x=1,y==' });
    // The harness signs what it sent, extensions included.
    expect(outcome(step)).toBe('success juliet');
  });

  test('a password with other spaces and composed characters is prepared like the stored one', async () => {
    const { accounts, authenticator } = await house();
    await accounts.create('romeo', 'cafe\u0301\u3000noir');
    const step = await scram(authenticator, CLEAR, {
      mechanism: 'SCRAM-SHA-256',
      user: 'romeo',
      password: 'caf\u00e9 noir',
    });
    expect(outcome(step)).toBe('success romeo');
  });
});

describe('authorization identity', () => {
  test.each([
    ['n,a=juliet@localhost,', 'success juliet'],
    ['n,a=JULIET@LocalHost,', 'success juliet'],
    ['n,a=romeo@localhost,', 'invalid-authzid'],
    ['n,a=juliet@elsewhere.example,', 'invalid-authzid'],
    ['n,a=juliet@localhost/balcony,', 'invalid-authzid'],
    ['n,a=juliet,', 'invalid-authzid'],
    ['n,a=@localhost,', 'invalid-authzid'],
    ['n,a=ju=2Cliet@localhost,', 'invalid-authzid'],
    ['n,a=ju=liet@localhost,', 'malformed-request'],
    ['n,a=,', 'malformed-request'],
  ])('%s gives %s', async (gs2, expected) => {
    const { authenticator } = await house();
    const step = await scram(authenticator, CLEAR, { mechanism: 'SCRAM-SHA-256', ...JULIET, gs2 });
    expect(outcome(step)).toBe(expected);
  });
});

describe('channel binding (RFC 5802 §6)', () => {
  const plus = { mechanism: 'SCRAM-SHA-256-PLUS', ...JULIET };

  test('data of another channel do not match', async () => {
    const { authenticator } = await house();
    const step = await scram(authenticator, context(), { ...plus, gs2: 'p=tls-exporter,,', binding: END_POINT });
    expect(step).toEqual({ kind: 'failure', condition: 'not-authorized', text: 'channel-bindings-dont-match' });
  });

  test('a type that this connection does not have is refused', async () => {
    const { authenticator } = await house();
    const where = context({ bindings: { 'tls-server-end-point': END_POINT } });
    for (const type of ['tls-unique', 'tls-exporter', 'constructor']) {
      const step = await scram(authenticator, where, { ...plus, gs2: `p=${type},,`, binding: EXPORTER });
      expect(step).toMatchObject({ condition: 'not-authorized', text: 'unsupported-channel-binding-type' });
    }
  });

  test('y where we offered -PLUS shows that the offer was tampered with', async () => {
    const { authenticator } = await house();
    const step = await scram(authenticator, context(), { mechanism: 'SCRAM-SHA-256', ...JULIET, gs2: 'y,,' });
    expect(step).toMatchObject({ condition: 'not-authorized', text: 'server-does-support-channel-binding' });
  });

  test('y is good where no -PLUS was offered, and n always', async () => {
    const { authenticator } = await house();
    const client = { mechanism: 'SCRAM-SHA-256', ...JULIET };
    expect(outcome(await scram(authenticator, CLEAR, { ...client, gs2: 'y,,' }))).toBe('success juliet');
    expect(outcome(await scram(authenticator, context(), { ...client, gs2: 'n,,' }))).toBe('success juliet');
  });

  test('-PLUS demands p, and the others know none', async () => {
    const { authenticator } = await house();
    for (const gs2 of ['n,,', 'y,,']) {
      expect(outcome(await scram(authenticator, context(), { ...plus, gs2 }))).toBe('malformed-request');
    }
    const step = await scram(authenticator, context(), {
      mechanism: 'SCRAM-SHA-256',
      ...JULIET,
      gs2: 'p=tls-exporter,,',
      binding: EXPORTER,
    });
    expect(step).toMatchObject({ condition: 'malformed-request', text: 'channel-binding-not-supported' });
  });

  test('a changed gs2 header is found out, even without binding', async () => {
    const { authenticator } = await house();
    const step = await scram(authenticator, CLEAR, {
      mechanism: 'SCRAM-SHA-1',
      ...JULIET,
      tamper: (final) => final.replace('c=biws', `c=${Buffer.from('y,,').toString('base64')}`),
    });
    expect(outcome(step)).toBe('not-authorized');
  });
});

describe('what is wrong with the final message', () => {
  test.each<[string, (final: string) => string, string]>([
    ['another nonce', (final) => final.replace('r=clientnonce', 'r=clientnoncX'), 'not-authorized'],
    ['the client nonce alone', (final) => final.replace(/r=[^,]+/, 'r=clientnonce'), 'not-authorized'],
    ['a proof of another length', (final) => final.replace(/p=.*/, 'p=AAAA'), 'not-authorized'],
    ['a proof that is not base64', (final) => final.replace(/p=.*/, 'p=AAA'), 'malformed-request'],
    ['padding bits that are set', (final) => final.replace(/p=.*/, 'p=AAB='), 'malformed-request'],
    ['a c that is not base64', (final) => final.replace(/c=[^,]+/, 'c=b'), 'malformed-request'],
    ['no proof', (final) => final.replace(/,p=.*/, ''), 'malformed-request'],
    ['no c', (final) => final.replace(/c=[^,]+,/, ''), 'malformed-request'],
    ['a mandatory extension', (final) => final.replace(',p=', ',m=x,p='), 'malformed-request'],
    ['an extension that was not signed', (final) => final.replace(',p=', ',x=y,p='), 'not-authorized'],
    ['something behind the proof', (final) => `${final},x=y`, 'malformed-request'],
    ['nothing', () => '', 'malformed-request'],
    ['a NUL', (final) => `${final}\0`, 'malformed-request'],
  ])('%s', async (_what, tamper, expected) => {
    const { authenticator } = await house();
    const step = await scram(authenticator, CLEAR, { mechanism: 'SCRAM-SHA-256', ...JULIET, tamper });
    expect(outcome(step)).toBe(expected);
  });
});

describe('what is wrong with the first message', () => {
  test.each([
    ['', 'malformed-request'],
    ['n,,', 'malformed-request'],
    ['n,,n=juliet', 'malformed-request'],
    ['n,,n=,r=abc', 'malformed-request'],
    ['n,,n=juliet,r=', 'malformed-request'],
    ['n,,r=abc,n=juliet', 'malformed-request'],
    ['n,n=juliet,r=abc', 'malformed-request'],
    ['x,,n=juliet,r=abc', 'malformed-request'],
    ['N,,n=juliet,r=abc', 'malformed-request'],
    ['p=,,n=juliet,r=abc', 'malformed-request'],
    ['n,,n=juliet,r=a bc', 'malformed-request'],
    ['n,,n=juliet,r=\u00e4', 'malformed-request'],
    ['n,,n=juliet,r=abc,', 'malformed-request'],
    ['n,,n=juliet,r=abc,x', 'malformed-request'],
    ['n,,n=juliet,r=abc,1=x', 'malformed-request'],
    ['n,,n=ju=liet,r=abc', 'malformed-request'],
    ['n,,n=juliet=,r=abc', 'malformed-request'],
    ['n,,n=ju=2cliet,r=abc', 'malformed-request'],
    ['n,,n=ju\0liet,r=abc', 'malformed-request'],
    ['n,,m=ext,n=juliet,r=abc', 'malformed-request'],
    ['n,,n=juliet,r=abc,m=ext', 'malformed-request'],
    ['n,,n=ju"liet,r=abc', 'not-authorized'],
    ['n,,n=juliet@localhost,r=abc', 'not-authorized'],
    ['n,,n=\u0001,r=abc', 'not-authorized'],
  ])('%j gives %s', async (message, expected) => {
    const { authenticator } = await house();
    const exchange = authenticator.start(CLEAR, 'SCRAM-SHA-256')!;
    expect(outcome(await exchange.respond(Buffer.from(message)))).toBe(expected);
    // The exchange is over: nothing may follow.
    expect(outcome(await exchange.respond(Buffer.from('n,,n=juliet,r=abc')))).toBe('malformed-request');
  });

  test('what is not UTF-8 is malformed', async () => {
    const { authenticator } = await house();
    const exchange = authenticator.start(CLEAR, 'SCRAM-SHA-256')!;
    const message = Buffer.concat([Buffer.from('n,,n='), Buffer.from([0xc3, 0x28]), Buffer.from(',r=abc')]);
    expect(outcome(await exchange.respond(message))).toBe('malformed-request');
  });
});

describe('an account that does not exist', () => {
  test.each(['SCRAM-SHA-1', 'SCRAM-SHA-256'])('looks like one that does (%s)', async (mechanism) => {
    const { store, authenticator } = await house();
    const shape = async (user: string) => {
      const exchange = authenticator.start(CLEAR, mechanism)!;
      const step = await exchange.respond(Buffer.from(`n,,n=${user},r=abc`));
      const [, salt, rest] = /s=([^,]+),(.*)$/.exec(text((step as { data: Buffer }).data)!)!;
      return { salt, length: salt.length, rest };
    };
    const [real, ghost, again, other] = [
      await shape('juliet'),
      await shape('ghost'),
      await shape('ghost'),
      await shape('ghost2'),
    ];
    expect(ghost.length).toBe(real.length);
    expect(ghost.rest).toBe(real.rest);
    expect(again.salt).toBe(ghost.salt);
    expect(other.salt).not.toBe(ghost.salt);
    const before = store.lookups;
    const refusals = [];
    for (const user of ['ghost', 'juliet']) {
      refusals.push(await scram(authenticator, CLEAR, { mechanism, user, password: 'wrong' }));
    }
    expect(refusals[0]).toEqual(refusals[1]);
    expect(store.lookups - before).toBe(4);
  });

  test('has the same salt after a restart, and another under another secret', async () => {
    const salt = async (secret: Buffer) => {
      const { authenticator } = await house({ secret });
      const step = await authenticator.start(CLEAR, 'SCRAM-SHA-1')!.respond(Buffer.from('n,,n=ghost,r=abc'));
      return /s=([^,]+)/.exec(text((step as { data: Buffer }).data)!)![1];
    };
    expect(await salt(Buffer.alloc(32, 5))).toBe(await salt(Buffer.alloc(32, 5)));
    expect(await salt(Buffer.alloc(32, 5))).not.toBe(await salt(Buffer.alloc(32, 6)));
  });

  test('removed between challenge and answer, it does not log in', async () => {
    const { store, authenticator } = await house();
    const step = await scram(authenticator, CLEAR, {
      mechanism: 'SCRAM-SHA-256',
      ...JULIET,
      tamper: (final) => {
        store.accounts.delete('juliet');
        return final;
      },
    });
    expect(outcome(step)).toBe('not-authorized');
  });
});

describe('the parsers', () => {
  /** Small reproducible randomness. */
  const random = (seed: number) => () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;

  test('take any text without throwing, and read only what the grammar has', () => {
    const next = random(42);
    const seeds = [
      'n,,n=user,r=abc',
      'p=tls-exporter,a=x@y,n=u=2C,r=!',
      'c=biws,r=abc,p=AAAA',
      'y,,m=1,n=a,r=b,x=y',
      'c=biws,r=abc,x=y,p=AAAA',
    ];
    const alphabet = 'nyprcmaex=,,==2C3D/+A \0\u00e9\ud83d\ude00\n';
    for (let round = 0; round < 20_000; round++) {
      const letters = [...seeds[Math.floor(next() * seeds.length)]];
      for (let edits = Math.floor(next() * 4); edits >= 0; edits--) {
        const at = Math.floor(next() * (letters.length + 1));
        letters.splice(at, Math.floor(next() * 3), alphabet[Math.floor(next() * alphabet.length)]);
      }
      const message = letters.join('');
      const first = parseClientFirst(message);
      if (typeof first !== 'string') expect(first.gs2Header + first.bare).toBe(message);
      const final = parseClientFinal(message);
      if (typeof final !== 'string') expect(message.startsWith(`${final.withoutProof},p=`)).toBe(true);
    }
  });

  test('take a long hostile message in linear time', () => {
    for (const message of [
      `n,,n=a,r=b${',x=y'.repeat(50_000)},`,
      `c=biws,r=b${',x=y'.repeat(50_000)},p`,
      `n,,n=${'='.repeat(200_000)}`,
      `n,a=${'=2C'.repeat(60_000)},n=`,
    ]) {
      expect(typeof parseClientFirst(message)).toBe('string');
      expect(typeof parseClientFinal(message)).toBe('string');
    }
  });
});
