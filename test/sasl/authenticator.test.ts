import { describe, expect, test } from 'vitest';
import { decodeBase64 } from '../../src/stream/sasl/base64.js';
import { CHANNEL_BINDING_TYPES } from '../../src/stream/sasl/authenticator.js';
import { Derivation, DerivationBusy } from '../../src/stream/sasl/derivation.js';
import { CLEAR, context, END_POINT, house, outcome, scram } from './harness.js';

const PLAIN = Buffer.from('\0juliet\0r0m30');

describe('the offer', () => {
  test('lists what this connection can do, the preferred first', async () => {
    const { authenticator } = await house();
    const scrams = ['SCRAM-SHA-256', 'SCRAM-SHA-1'];
    const plus = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS'];
    expect(authenticator.mechanisms(context())).toEqual([...plus, ...scrams, 'PLAIN']);
    expect(authenticator.mechanisms(context({ plainAllowed: false, bindings: {} }))).toEqual(scrams);
    expect(authenticator.mechanisms(context({ bindings: { 'tls-server-end-point': END_POINT } }))).toContain(plus[0]);
    // RFC 6120 §6.3.4: EXTERNAL first.
    expect(authenticator.mechanisms(context({ certificate: Buffer.alloc(1) }))[0]).toBe('EXTERNAL');
  });

  test('has the binding types of XEP-0440, the stronger first', () => {
    expect(CHANNEL_BINDING_TYPES).toEqual(['tls-exporter', 'tls-server-end-point']);
  });
});

describe('a mechanism that cannot be used here', () => {
  test.each([
    ['PLAIN', 'encryption-required'],
    ['SCRAM-SHA-1-PLUS', 'invalid-mechanism'],
    ['EXTERNAL', 'invalid-mechanism'],
    ['DIGEST-MD5', 'invalid-mechanism'],
    ['plain', 'invalid-mechanism'],
    ['', 'invalid-mechanism'],
    ['constructor', 'invalid-mechanism'],
  ])('%s: %s', async (mechanism, condition) => {
    const { authenticator } = await house();
    const where = { ...CLEAR, plainAllowed: false };
    expect(authenticator.refusal(where, mechanism)).toBe(condition);
    expect(authenticator.start(where, mechanism)).toBeUndefined();
  });
});

describe('a failure that is not the client`s', () => {
  test.each(['PLAIN', 'SCRAM-SHA-256'])('the store fails: temporary-auth-failure (%s)', async (mechanism) => {
    const errors: unknown[] = [];
    const { store, proofs, authenticator } = await house({ onError: (error) => errors.push(error) });
    // Who is known for certain is let in without the store.
    proofs.forget('juliet');
    store.failing = true;
    const data = mechanism === 'PLAIN' ? PLAIN : Buffer.from('n,,n=juliet,r=abc');
    expect(outcome(await authenticator.start(context(), mechanism)!.respond(data))).toBe('temporary-auth-failure');
    expect(errors).toHaveLength(1);
  });

  test('the store fails between challenge and answer', async () => {
    const { store, authenticator } = await house();
    const step = await scram(authenticator, CLEAR, {
      mechanism: 'SCRAM-SHA-1',
      user: 'juliet',
      password: 'r0m30',
      tamper: (final) => {
        store.failing = true;
        return final;
      },
    });
    expect(outcome(step)).toBe('temporary-auth-failure');
  });

  test('stored keys that cannot be used end the exchange, not the process', async () => {
    const { store, authenticator } = await house();
    store.accounts.get('juliet')!.sha256.iterations = -1;
    const exchange = authenticator.start(context(), 'PLAIN')!;
    expect(outcome(await exchange.respond(Buffer.from('\0juliet\0other')))).toBe('temporary-auth-failure');
  });

  test('too many derivations: those beyond the bound are told to come again, the others are served', async () => {
    const derivation = new Derivation({ concurrent: 1, waiting: 2 });
    const { authenticator } = await house({ derivation });
    const attempts = Array.from({ length: 6 }, (_, index) =>
      authenticator.start(context(), 'PLAIN')!.respond(Buffer.from(`\0juliet\0wrong${index}`)),
    );
    const outcomes = (await Promise.all(attempts)).map(outcome).sort();
    expect(outcomes).toEqual([
      ...Array<string>(3).fill('not-authorized'),
      ...Array<string>(3).fill('temporary-auth-failure'),
    ]);
    expect(derivation.waiting).toBe(0);
    // The remembered password needs no derivation, so a flood does not keep its owner out.
    expect(outcome(await authenticator.start(context(), 'PLAIN')!.respond(PLAIN))).toBe('success juliet');
  });
});

describe('derivations', () => {
  test('run no more than the bound allows at once, first come first served, and go on after an error', async () => {
    const derivation = new Derivation({ concurrent: 2, waiting: 10 });
    const ended: number[] = [];
    const salt = Buffer.alloc(16);
    const jobs = Array.from({ length: 6 }, (_, index) =>
      derivation.derive('x', salt, index === 1 ? -1 : 1000, 'sha256').then(
        () => ended.push(index),
        () => ended.push(-1),
      ),
    );
    expect(derivation.waiting).toBe(4);
    await Promise.all(jobs);
    expect(ended).toHaveLength(6);
    expect(ended).toContain(-1);
    expect(derivation.waiting).toBe(0);
  });

  test('over the bound the error says how many wait', async () => {
    const derivation = new Derivation({ concurrent: 1, waiting: 0 });
    const first = derivation.derive('x', Buffer.alloc(16), 1000, 'sha1');
    await expect(derivation.derive('x', Buffer.alloc(16), 1000, 'sha1')).rejects.toBeInstanceOf(DerivationBusy);
    expect(await first).toHaveLength(20);
  });
});

test('base64 is taken only as RFC 6120 §6.3.5 has it', () => {
  expect(decodeBase64('AGp1bGlldA==')?.toString()).toBe('\0juliet');
  expect(decodeBase64('')).toHaveLength(0);
  for (const bad of ['=', 'A', 'AA', 'AAA', 'AA=', 'AB==', 'AAB=', 'A A=', 'AA\n==', 'AA==AA==', 'A-_=', 'ÄÄÄÄ']) {
    expect(decodeBase64(bad), bad).toBeUndefined();
  }
});
