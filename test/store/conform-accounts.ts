import { expect, test } from 'vitest';
import type { Given } from './conformance.js';
import { account } from './records.js';

function plain(keys: { salt: Uint8Array; iterations: number; storedKey: Uint8Array; serverKey: Uint8Array }) {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  return [hex(keys.salt), keys.iterations, hex(keys.storedKey), hex(keys.serverKey)];
}

export function accountsConform(given: Given): void {
  test('what was created is read back, byte for byte', async () => {
    const { accounts } = given();
    expect(await accounts.get('juliet')).toBeUndefined();
    expect(await accounts.create('juliet', account(7))).toBe(true);
    const found = await accounts.get('juliet');
    expect(plain(found!.sha1)).toEqual(plain(account(7).sha1));
    expect(plain(found!.sha256)).toEqual(plain(account(7).sha256));
    expect(found!.created).toBe(account(7).created);
  });

  test('an account is not created twice, also when both ask at once', async () => {
    const { accounts } = given();
    const answers = await Promise.all([1, 2, 3, 4].map((seed) => accounts.create('tybalt', account(seed))));
    expect(answers.filter(Boolean)).toHaveLength(1);
    expect((await accounts.get('tybalt'))!.sha1.iterations).toBe(4096 + answers.indexOf(true) + 1);
  });

  test('keys are replaced only where there is an account', async () => {
    const { accounts } = given();
    expect(await accounts.update('paris', account(1))).toBe(false);
    expect(await accounts.get('paris')).toBeUndefined();
    await accounts.create('paris', account(1));
    expect(await accounts.update('paris', account(2))).toBe(true);
    expect((await accounts.get('paris'))!.sha256.iterations).toBe(4098);
  });

  test('a removed account is gone, and its name is free', async () => {
    const { accounts } = given();
    await accounts.create('mercutio', account(1));
    expect(await accounts.remove('mercutio')).toBe(true);
    expect(await accounts.remove('mercutio')).toBe(false);
    expect(await accounts.get('mercutio')).toBeUndefined();
    expect(await accounts.create('mercutio', account(2))).toBe(true);
  });

  test('accounts are listed in the order of their bytes, page by page', async () => {
    const { accounts } = given();
    const users = ['l-zoë', 'l-a', 'l-日本', 'l-b', 'l-😀', `l-${'x'.repeat(1000)}`, 'l-'];
    for (const user of users) await accounts.create(user, account(1));
    const count = await accounts.count();
    const listed: string[] = [];
    for (let page = await accounts.list(undefined, 3); page.length > 0;) {
      listed.push(...page);
      page = await accounts.list(page.at(-1), 3);
    }
    expect(listed).toHaveLength(count);
    const mine = listed.filter((user) => user.startsWith('l-'));
    expect(mine).toEqual([...users].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    expect(await accounts.list(listed.at(-1), 5)).toEqual([]);
    expect(await accounts.list(undefined, 0)).toEqual([]);
  });
}
