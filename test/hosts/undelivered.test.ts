import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { clientAt, liveWorkers, workerOf } from '../protocol/support/places.js';
import { RawClient, type XmlElement } from '../support/client.js';
import { redisInstalled, RedisServer, until } from '../support/redis.js';
import { startServer, type TestServer } from '../support/server.js';
import { Device, message } from '../protocol/support/device.js';
import { startHost } from './hosts.js';

const COUNT = 200;
const numbered = (what: string, from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `${what} ${from + i}`);

/** One of each kind, all for one account, numbered. */
function round(number: number, full: string, bare: string): string {
  return [
    `<message type='chat' id='bare ${number}' to='${bare}'><body>bare ${number}</body></message>`,
    `<message type='chat' id='full ${number}' to='${full}'><body>full ${number}</body></message>`,
    `<message id='normal ${number}' to='${full}'><body>normal ${number}</body></message>`,
    `<iq type='get' id='iq ${number}' to='${full}'><ping xmlns='urn:xmpp:ping'/></iq>`,
    `<iq type='result' id='result ${number}' to='${full}'/>`,
  ].join('');
}

/** Sends so many rounds; resolves when the server has routed them. */
async function send(sender: RawClient, full: string, from: number, to: number): Promise<void> {
  const bare = full.slice(0, full.indexOf('/'));
  for (let i = from; i < to; i++) sender.send(round(i, full, bare));
  await sender.ping();
}

/** Notes all that comes, until all of `count` are there; then looks whether more comes. */
async function gathered(client: RawClient, wanted: (stanza: XmlElement) => boolean, count: number) {
  const got: XmlElement[] = [];
  while (got.length < count) got.push(await client.expect(wanted, 40_000));
  await client.expectNothing(wanted);
  return got;
}

const chat = (stanza: XmlElement): boolean => stanza.name === 'message' && stanza.attr('type') === 'chat';
const error = (stanza: XmlElement): boolean => stanza.attr('type') === 'error';

/** Each chat message reached the other resource, and all else came back: once, and in order. */
async function allAccounted(reader: RawClient, sender: RawClient | undefined, from: number, to: number): Promise<void> {
  const read = await gathered(reader, chat, 2 * (to - from));
  const bodies = read.map((stanza) => stanza.child('body')!.text());
  expect(bodies).toEqual(numbered('', from, to).flatMap((number) => [`bare${number}`, `full${number}`]));
  if (sender === undefined) return;
  const errors = await gathered(sender, error, 2 * (to - from));
  for (const kind of ['normal', 'iq']) {
    const ids = errors.map((stanza) => stanza.attr('id')!).filter((id) => id.startsWith(kind));
    expect(ids).toEqual(numbered(kind, from, to));
  }
  for (const stanza of errors) {
    expect(stanza.child('error')!.child('service-unavailable')).toBeDefined();
  }
}

/** A session that takes the messages for the account, and shows itself to the sender; nothing is under way when it resolves. */
async function doomedSession(client: RawClient, sender: RawClient): Promise<void> {
  await client.sendPresence('<priority>5</priority>');
  client.send(`<presence to='${sender.jid}'/>`);
  await sender.expect({ name: 'presence' });
  sender.send(`<message type='chat' to='${client.jid}'><body>before</body></message>`);
  await client.expect(chat);
  // What this one sends says that it has handled the message.
  client.send(`<message type='chat' to='${sender.jid}'><body>got it</body></message>`);
  await sender.expect(chat);
}

describe.skipIf(!redisInstalled)('what was on its way to a host that dies', () => {
  let redis: RedisServer;
  let hosts: TestServer[];
  beforeAll(async () => void (redis = await RedisServer.start()));
  afterAll(() => redis?.stop());
  beforeEach(async () => {
    await redis.command('FLUSHALL');
    hosts = [];
    await Promise.all(
      [0, 1, 2].map(async (i) => (hosts[i] = await startHost(redis, { set: { 'cluster.lease_seconds': 6 } }))),
    );
    await hosts[0]!.addUsers('sender', 'account');
  });
  afterEach(() => Promise.all(hosts.map((host) => host.stop())));

  function freeze(host: TestServer): void {
    const workers = liveWorkers(host);
    // The supervisor first: it must not miss its worker.
    host.signal('SIGSTOP');
    for (const pid of workers) process.kill(pid, 'SIGSTOP');
  }

  async function remove(host: TestServer): Promise<void> {
    hosts = hosts.filter((one) => one !== host);
    await host.kill();
    await host.removeFolder();
  }

  const leftInInboxes = async (text: string): Promise<boolean> => {
    for (const key of await redis.keys()) {
      if (!key.includes(':inbox:')) continue;
      const entries = (await redis.command('XRANGE', key, '-', '+')) as [Buffer, Buffer[]][];
      if (entries.some(([, fields]) => fields.some((field) => field.includes(text)))) return true;
    }
    return false;
  };

  test('reaches another resource or comes back to its sender: once, and in order', async () => {
    const [a, b, c] = hosts as [TestServer, TestServer, TestServer];
    const sender = await RawClient.login(a, { user: 'sender', available: true });
    const reader = await RawClient.login(b, { user: 'account', available: true });
    const doomed = await RawClient.login(c, { user: 'account' });
    await doomedSession(doomed, sender);
    freeze(c);
    await send(sender, doomed.jid, 0, COUNT);
    await remove(c);
    // It is not known to be dead before its lease ends.
    await send(sender, doomed.jid, COUNT, 2 * COUNT);
    await allAccounted(reader, sender, 0, 2 * COUNT);
    await until('an empty inbox', async () => !(await leftInInboxes('bare')));
  });

  test('also when its sender has died with its host', async () => {
    const [a, b, c] = hosts as [TestServer, TestServer, TestServer];
    const sender = await RawClient.login(a, { user: 'sender', available: true });
    const reader = await RawClient.login(b, { user: 'account', available: true });
    const doomed = await RawClient.login(c, { user: 'account' });
    await doomedSession(doomed, sender);
    // What its owner has handled is still there for a moment.
    await until('an empty inbox', async () => !(await leftInInboxes('before')));
    freeze(c);
    await send(sender, doomed.jid, 0, COUNT);
    await until('all being in the inbox', () => leftInInboxes(`bare ${COUNT - 1}`));
    await Promise.all([remove(a), remove(c)]);
    await allAccounted(reader, undefined, 0, COUNT);
  });

  test('and what a resumable session there had not acknowledged goes to another, or back: that, and nothing else', async () => {
    const [a, b, c] = hosts as [TestServer, TestServer, TestServer];
    const copies = async () => (await redis.keys()).filter((key) => key.includes(':spool:'));
    const copied = async (): Promise<number> => {
      let sum = 0;
      for (const key of await copies()) sum += Number(await redis.command('HLEN', key));
      return sum;
    };
    await a.addUsers('alone');
    const sender = await RawClient.login(a, { user: 'sender', available: true });
    const reader = await RawClient.login(b, { user: 'account', available: true });
    const doomed = await Device.login(c, { user: 'account', available: true, acknowledging: 'never' });
    const alone = await Device.login(c, { user: 'alone', available: true, acknowledging: 'never' });
    const chats = (what: string, device: Device) => {
      for (const text of numbered(what, 0, 20)) sender.send(message(device.jid, text, `type='chat' id='${text}'`));
    };
    chats('acknowledged', doomed);
    await doomed.until(() => doomed.bodies().length === 20, 'the first');
    expect(await doomed.serverCount()).toBe(1);
    doomed.acknowledge();
    await until('nothing to be kept', async () => (await copied()) === 0);
    for (const device of [doomed, alone]) chats('left', device);
    for (const device of [doomed, alone]) await device.until(() => device.bodies().includes('left 19'), 'the last');
    await until('a copy of each', async () => (await copied()) === 40);
    // Senders take back what is not confirmed: what this one sends says that all was handled.
    doomed.send(message(sender.jid, 'got all'));
    await sender.expect(chat);
    await remove(c);
    const read = await gathered(reader, chat, 20);
    expect(read.map((stanza) => stanza.child('body')!.text())).toEqual(numbered('left', 0, 20));
    for (const stanza of read) expect(stanza.child('delay', 'urn:xmpp:delay')?.attr('from')).toBe('localhost');
    const errors = await gathered(sender, error, 20);
    expect(errors.map((stanza) => stanza.attr('id'))).toEqual(numbered('left', 0, 20));
    await until('no copies', async () => (await copies()).length === 0);
    const back = await Device.authenticated(b, { user: 'account' });
    expect((await doomed.resumeOn(back)).name).toBe('failed');
  });

  test('is doubled for nobody where several resources got it', async () => {
    const [a, b, c] = hosts as [TestServer, TestServer, TestServer];
    await a.addUsers('low');
    const sender = await RawClient.login(a, { user: 'sender', available: true });
    const reader = await RawClient.login(b, { user: 'account', available: true });
    const other = await RawClient.login(b, { user: 'low', available: true });
    const login = (user: string) => Device.login(c, { user, available: true, acknowledging: 'never' });
    const doomed = await Promise.all(['account', 'account', 'low', 'low'].map(login));
    for (const device of doomed) {
      if (!device.jid.startsWith('low')) continue;
      device.send('<presence><priority>5</priority></presence>');
      await device.ping();
    }
    for (const text of numbered('text', 0, 20)) {
      for (const user of ['account', 'low']) sender.send(message(`${user}@localhost`, text));
    }
    for (const device of doomed) await device.until(() => device.bodies().length === 20, 'all');
    // What these send says that all was handled.
    for (const device of doomed) device.send(message(sender.jid, 'got all'));
    await gathered(sender, chat, doomed.length);
    await until('a copy of each', async () => {
      const keys = (await redis.keys()).filter((key) => key.includes(':spool:'));
      const sizes = await Promise.all(keys.map(async (key) => Number(await redis.command('HLEN', key))));
      return sizes.reduce((sum, size) => sum + size, 0) === 80;
    });
    await remove(c);
    await until('no copies', async () => !(await redis.keys()).some((key) => /:spool:\d/.test(key)));
    // Who got it already, and who got it only now.
    for (const client of [reader, other]) {
      const read = await gathered(client, chat, 20);
      expect(read.map((stanza) => stanza.child('body')!.text())).toEqual(numbered('text', 0, 20));
    }
    await sender.expectNothing(error);
  });

  test('is handled by nobody else when that host was only thought dead, and comes back', async () => {
    const [a, b, c] = hosts as [TestServer, TestServer, TestServer];
    const sender = await RawClient.login(a, { user: 'sender', available: true });
    const reader = await RawClient.login(b, { user: 'account', available: true });
    const still = await RawClient.login(c, { user: 'account' });
    await doomedSession(still, sender);
    const workers = liveWorkers(c);
    freeze(c);
    await send(sender, still.jid, 0, COUNT);
    await allAccounted(reader, sender, 0, COUNT);
    for (const pid of workers) process.kill(pid, 'SIGCONT');
    c.signal('SIGCONT');
    await still.expectNothing((stanza) => stanza.name === 'message');
    // It is there again, for what is sent from now on.
    await until('messages reaching it', async () => {
      sender.send(`<message type='chat' to='${still.jid}'><body>again</body></message>`);
      await sender.ping();
      return still.expect(chat, 200).then(
        () => true,
        () => false,
      );
    });
  });
});

test('what was on its way to a worker that dies reaches another of its host, or comes back: once, and in order', async () => {
  const server = await startServer({ workers: 2 });
  try {
    await server.addUsers('sender', 'account');
    const sender = await RawClient.login(server, { user: 'sender', available: true });
    const here = workerOf(server, sender);
    const there = liveWorkers(server).find((pid) => pid !== here)!;
    const reader = await clientAt(server, here, { user: 'account', available: true });
    const doomed = await clientAt(server, there, { user: 'account' });
    await doomedSession(doomed, sender);
    process.kill(there, 'SIGSTOP');
    await send(sender, doomed.jid, 0, COUNT);
    process.kill(there, 'SIGKILL');
    await allAccounted(reader, sender, 0, COUNT);
  } finally {
    await server.stop();
  }
});
