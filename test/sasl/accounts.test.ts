import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Accounts } from '../../src/stream/sasl/accounts.js';
import { Derivation } from '../../src/stream/sasl/derivation.js';
import { ProofCache } from '../../src/stream/sasl/proofs.js';
import { serverSecret, subkey } from '../../src/stream/sasl/secret.js';
import { mesh } from '../cluster/mesh.js';
import { house, ITERATIONS, MapAccounts } from './harness.js';

/** Counts what goes to the thread pool. */
class Counted extends Derivation {
  count = 0;
  override derive(...args: Parameters<Derivation['derive']>) {
    this.count++;
    return super.derive(...args);
  }
}

describe('accounts', () => {
  test('are created once, under the prepared name', async () => {
    const { accounts, store } = await house();
    expect(await accounts.create('Romeo', 'secret')).toBe('created');
    expect(await accounts.create('romeo', 'other')).toBe('exists');
    expect(store.accounts.has('romeo')).toBe(true);
    expect(await accounts.exists('ROMEO')).toBe(true);
    expect(await accounts.list(undefined, 10)).toEqual(['juliet', 'romeo']);
    expect(await accounts.list('juliet', 10)).toEqual(['romeo']);
  });

  test.each([
    ['', 'secret'],
    ['a@b', 'secret'],
    ['a/b', 'secret'],
    ['a b', 'secret'],
    ['a'.repeat(1024), 'secret'],
    ['romeo', ''],
    ['romeo', 'a\u0000b'],
    ['romeo', 'tab\tbed'],
  ])('%j with password %j is invalid', async (user, password) => {
    const { accounts } = await house();
    expect(await accounts.create(user, password)).toBe('invalid');
    expect(await accounts.setPassword(user, password)).toBe('invalid');
    expect(await accounts.verify(user, password)).toBe(false);
  });

  test('know their password, and only the new one after a change', async () => {
    const { accounts, store } = await house();
    const { created } = store.accounts.get('juliet')!;
    expect(await accounts.verify('juliet', 'r0m30')).toBe(true);
    expect(await accounts.setPassword('juliet', 'new')).toBe('changed');
    expect(await accounts.verify('juliet', 'r0m30')).toBe(false);
    expect(await accounts.verify('juliet', 'new')).toBe(true);
    expect(store.accounts.get('juliet')!.created).toBe(created);
    expect(await accounts.setPassword('ghost', 'new')).toBe('missing');
  });

  test('are gone after removal', async () => {
    const { accounts, proofs } = await house();
    expect(await accounts.remove('Juliet')).toBe(true);
    expect(await accounts.remove('juliet')).toBe(false);
    expect(await accounts.verify('juliet', 'r0m30')).toBe(false);
    expect(await accounts.exists('juliet')).toBe(false);
    expect(proofs.size).toBe(0);
  });

  test('keep no password', async () => {
    const { store } = await house();
    expect(JSON.stringify(store.accounts.get('juliet'))).not.toContain('r0m30');
  });
});

describe('the proof of the last success', () => {
  test('spares the derivation after creation, a login and a password change', async () => {
    const derivation = new Counted();
    const store = new MapAccounts();
    const key = Buffer.alloc(32, 1);
    const fresh = () =>
      new Accounts(store, { iterations: ITERATIONS, derivation, proofs: new ProofCache({ key, capacity: 10 }) });
    const accounts = fresh();
    await accounts.create('juliet', 'r0m30');
    derivation.count = 0;
    expect(await accounts.verify('juliet', 'r0m30')).toBe(true);
    expect(derivation.count).toBe(0);
    await accounts.setPassword('juliet', 'new');
    derivation.count = 0;
    expect(await accounts.verify('juliet', 'new')).toBe(true);
    expect(derivation.count).toBe(0);

    const restarted = fresh();
    expect(await restarted.verify('juliet', 'new')).toBe(true);
    expect(derivation.count).toBe(1);
    expect(await restarted.verify('juliet', 'new')).toBe(true);
    expect(derivation.count).toBe(1);
  });

  test('costs one look-up after a password change', async () => {
    const { accounts, store } = await house();
    await accounts.setPassword('juliet', 'new');
    store.lookups = 0;
    await accounts.verify('juliet', 'new');
    expect(store.lookups).toBe(1);
  });

  test('of a wrong password is never kept, and does not displace the right one', async () => {
    const derivation = new Counted();
    const { accounts } = await house({ derivation });
    expect(await accounts.verify('juliet', 'wrong')).toBe(false);
    expect(await accounts.verify('juliet', 'wrong')).toBe(false);
    derivation.count = 0;
    expect(await accounts.verify('juliet', 'r0m30')).toBe(true);
    expect(derivation.count).toBe(0);
  });

  test('dies with the stored key, also where nobody told of the change', async () => {
    const { accounts, store } = await house();
    const other = new Accounts(store, {
      iterations: ITERATIONS,
      proofs: new ProofCache({ key: Buffer.alloc(32, 9), capacity: 10 }),
    });
    await other.setPassword('juliet', 'new');
    expect(await accounts.verify('juliet', 'r0m30')).toBe(false);
    expect(await accounts.verify('juliet', 'new')).toBe(true);
  });

  test('needs no look into the store once it was held against it, until there is news of the account', async () => {
    const { accounts } = await house();
    // The worker that made the account has the key.
    expect(accounts.knows('juliet', 'r0m30')).toBe(true);
    expect(accounts.knows('juliet', 'other')).toBe(false);
    expect(accounts.knows('romeo', 'r0m30')).toBe(false);
    await accounts.setPassword('juliet', 'other');
    expect(accounts.knows('juliet', 'r0m30')).toBe(false);
    await accounts.verify('juliet', 'other');
    expect(accounts.knows('juliet', 'other')).toBe(true);
    await accounts.remove('juliet');
    expect(accounts.knows('juliet', 'other')).toBe(false);
  });

  test('does not trust what was read of an account before the news of it', () => {
    const stored = Buffer.alloc(32, 3);
    const proofs = new ProofCache({ key: Buffer.alloc(32, 1), capacity: 9 });
    proofs.remember('a', 'x', stored);
    const before = proofs.of('a');
    proofs.remember('a', 'x', stored);
    expect(proofs.fits('a', 'x', stored, before)).toBe(false);
    expect(proofs.knows('a', 'x')).toBe(false);
    expect(proofs.fits('a', 'x', stored)).toBe(true);
    expect(proofs.knows('a', 'x')).toBe(true);
    // The same where it was a new account, or took a derivation.
    const changes: (() => void)[] = [() => proofs.remember('b', 'y', stored), () => proofs.forget('b')];
    for (const change of changes) {
      const { news } = proofs;
      change();
      proofs.remember('a', 'x', stored, news);
      expect(proofs.knows('a', 'x')).toBe(false);
      proofs.remember('a', 'x', stored, proofs.news);
      expect(proofs.knows('a', 'x')).toBe(true);
    }
  });

  test('is forgotten for the account that logged in longest ago when there are too many', () => {
    const proofs = new ProofCache({ key: Buffer.alloc(32, 1), capacity: 2 });
    const stored = Buffer.alloc(32, 3);
    proofs.remember('a', 'x', stored);
    proofs.remember('b', 'x', stored);
    expect(proofs.fits('a', 'x', stored)).toBe(true);
    proofs.remember('c', 'x', stored);
    expect(proofs.size).toBe(2);
    expect(proofs.fits('b', 'x', stored)).toBe(false);
    expect(proofs.fits('a', 'x', stored)).toBe(true);
    expect(proofs.fits('c', 'x', stored)).toBe(true);
  });

  test('fits no other user, password, stored key or server key', () => {
    const stored = Buffer.alloc(32, 3);
    const proofs = new ProofCache({ key: Buffer.alloc(32, 1), capacity: 0 });
    proofs.remember('a', 'x', stored);
    expect(proofs.size).toBe(0);
    const kept = new ProofCache({ key: Buffer.alloc(32, 1), capacity: 9 });
    kept.remember('a', 'x', stored);
    expect(kept.fits('a', 'y', stored)).toBe(false);
    expect(kept.fits('b', 'x', stored)).toBe(false);
    expect(kept.fits('a', 'x', Buffer.alloc(32, 4))).toBe(false);
    expect(kept.fits('a', 'x', stored)).toBe(true);
  });
});

describe('proofs in a pool of workers', () => {
  const stored = Buffer.alloc(32, 3);
  const key = Buffer.alloc(32, 1);

  test('are shared, and forgotten everywhere', async () => {
    const { buses } = await mesh(3);
    const proofs = buses.map((bus) => new ProofCache({ key, capacity: 100, bus }));
    proofs[0].remember('juliet', 'r0m30', stored);
    proofs[0].remember('roméo', 'x', stored);
    await buses[0].barrier();
    for (const each of proofs) {
      expect(each.fits('juliet', 'r0m30', stored)).toBe(true);
      expect(each.fits('roméo', 'x', stored)).toBe(true);
    }
    proofs[1].forget('juliet');
    await buses[1].barrier();
    for (const each of proofs) expect(each.fits('juliet', 'r0m30', stored)).toBe(false);
    expect(proofs.map(({ size }) => size)).toEqual([1, 1, 1]);
  });

  test('are good for nothing at any worker once a change at one is done, or when a worker is gone that may not have told', async () => {
    const pool = await mesh(3);
    const store = new MapAccounts();
    const house = pool.buses.map((bus) => {
      const proofs = new ProofCache({ key, capacity: 100, bus });
      return new Accounts(store, { iterations: ITERATIONS, proofs });
    });
    const all = (password: string) => Promise.all(house.map((accounts) => accounts.verify('juliet', password)));
    const known = (password: string) => house.map((accounts) => accounts.knows('juliet', password));
    await house[0].create('juliet', 'r0m30');
    await pool.buses[0].barrier();
    await all('r0m30');
    expect(known('r0m30')).toEqual([true, true, true]);
    await house[1].setPassword('juliet', 'new');
    expect(known('r0m30')).toEqual([false, false, false]);
    expect(await all('r0m30')).toEqual([false, false, false]);
    await all('new');
    expect(known('new')).toEqual([true, true, true]);
    await house[2].remove('juliet');
    expect(known('new')).toEqual([false, false, false]);
    await house[0].create('juliet', 'again');
    await pool.buses[0].barrier();
    await all('again');
    expect(known('again')).toEqual([true, true, true]);
    await pool.buses[2].close();
    await expect.poll(() => known('again').slice(0, 2)).toEqual([false, false]);
    expect(await house[0].verify('juliet', 'again')).toBe(true);
    expect(house[0].knows('juliet', 'again')).toBe(true);
  });

  test('are told to a worker that joins, once, in the order of their use', async () => {
    const pool = await mesh(2);
    const [first] = pool.buses.map((bus) => new ProofCache({ key, capacity: 5000, bus }));
    for (let i = 0; i < 3000; i++) first.remember(`user${i}`, 'x', stored);
    let joined!: ProofCache;
    await pool.join((bus) => (joined = new ProofCache({ key, capacity: 2000, bus })));
    await pool.buses[0].barrier();
    await pool.buses[1].barrier();
    expect(joined.size).toBe(2000);
    expect(joined.fits('user2999', 'x', stored)).toBe(true);
    expect(joined.fits('user0', 'x', stored)).toBe(false);
  });

  test('frames that are cut off or nonsense do no harm', async () => {
    const { buses } = await mesh(2);
    const proofs = new ProofCache({ key, capacity: 100, bus: buses[0] });
    for (const frame of [[], [1], [255, 255, 1, 65], [1, 0, 1, 65], [0, 0, 0], [9, 9, 9, 9, 9, 9]]) {
      buses[1].send(1, 8, Buffer.from(frame));
    }
    await buses[1].barrier();
    expect(proofs.size).toBe(0);
  });
});

describe('the server`s secret', () => {
  const folder = async () => {
    const path = await mkdtemp(join(tmpdir(), 'secret-'));
    onTestFinished(() => rm(path, { recursive: true }));
    return join(path, 'data');
  };

  test('is made once, for its owner only, and the same for all who ask at once', async () => {
    const dataDir = await folder();
    const secrets = await Promise.all(Array.from({ length: 8 }, () => serverSecret(dataDir)));
    const kept = await serverSecret(dataDir);
    expect(kept).toHaveLength(32);
    for (const secret of secrets) expect(secret.equals(kept)).toBe(true);
    expect((await stat(join(dataDir, 'sasl.secret'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(dataDir, 'sasl.secret'), 'utf8')).toBe(kept.toString('hex'));
  });

  test('that is damaged is named, not replaced', async () => {
    const dataDir = await folder();
    await serverSecret(dataDir);
    await writeFile(join(dataDir, 'sasl.secret'), 'oops');
    await expect(serverSecret(dataDir)).rejects.toThrow(/sasl\.secret is damaged/);
  });

  test('gives another key for each purpose', () => {
    const secret = Buffer.alloc(32, 1);
    expect(subkey(secret, 'a')).toHaveLength(32);
    expect(subkey(secret, 'a').equals(subkey(secret, 'b'))).toBe(false);
  });
});
