import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorOf, RawClient, type XmlElement } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { numbered } from './support/device.js';
import { authenticatedAt, clientAt, liveWorkers } from './support/places.js';
import {
  configure,
  create,
  itemIds,
  publish,
  pubsub,
  remove,
  Sensor,
  SERVICE,
  storedItems,
  subscribe,
  unsubscribe,
} from './support/pubsub.js';

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ workers: 3, set: { 'limits.enabled': false } });
});
afterAll(() => server.stop());

const at = (place: number, user: string, available = false) =>
  clientAt(server, liveWorkers(server)[place]!, { user, available });

/** A notification of items, of that node or of any. */
const isItems = (node?: string) => (element: XmlElement) => {
  const items = element.child('event')?.child('items');
  return items !== undefined && (node === undefined || items.attr('node') === node);
};

describe('a publish at one worker', () => {
  test('reaches who subscribed at another as soon as the subscription is confirmed, and nobody who unsubscribed', async () => {
    const sensor = await at(0, 'sensor');
    const desks = [await at(1, 'desk1', true), await at(2, 'desk2', true)];
    const options = { send_last_published_item: 'never' };
    await create(sensor, 'often', options);
    for (let round = 0; round < 50; round++) {
      const node = round % 2 === 0 ? 'often' : `once-${round}`;
      if (node !== 'often') await create(sensor, node, options);
      const desk = desks[round % 3 === 0 ? 0 : 1]!;
      await subscribe(desk, node);
      sensor.send(publish(node, `in-${round}`));
      expect(itemIds(await desk.expect(isItems(node)))).toEqual([`in-${round}`]);
      await sensor.expect({ id: `pin-${round}`, type: 'result' });
      await unsubscribe(desk, node);
      sensor.send(publish(node, `out-${round}`));
      await sensor.expect({ id: `pout-${round}`, type: 'result' });
    }
    for (const desk of desks) await desk.expectNothing(isItems(), SERVICE);
    await Promise.all([sensor, ...desks].map((client) => client.close()));
  });

  test.each([
    ['is not kept', '0'],
    ['is kept', '1'],
  ])('%s: 2000 from each of two publishers arrive in their order at every worker', async (_case, persist_items) => {
    const node = `order-${persist_items}`;
    const sensors = [await at(0, 'sensor'), await at(1, 'sensor2')];
    const names = numbered(3, `${node}-desk`);
    const desks = await Promise.all(names.map((name, place) => at(place, name, true)));
    await create(sensors[0]!, node, { persist_items, publish_model: 'open', max_items: '10' });
    for (const desk of desks) await subscribe(desk, node);
    const items = numbered(2000);
    for (const [index, sensor] of sensors.entries()) {
      for (const item of items) sensor.send(publish(node, `${index}-${item}`));
    }
    for (const desk of desks) {
      const seen: string[] = [];
      while (seen.length < 2 * items.length) seen.push(...itemIds(await desk.event(node)));
      for (const index of [0, 1]) {
        const own = seen.filter((id) => id.startsWith(`${index}-`)).map((id) => id.slice(2));
        expect(own).toEqual(items);
      }
    }
    await Promise.all([...sensors, ...desks].map((client) => client.close()));
  });

  test('reaches each of the sessions of an account, wherever they are, once', async () => {
    const sensor = await at(0, 'sensor');
    const sessions = [await at(0, 'many', true), await at(1, 'many', true), await at(2, 'many', true)];
    await create(sensor, 'many');
    await subscribe(sessions[1]!, 'many');
    for (const item of numbered(20)) sensor.send(publish('many', item));
    for (const session of sessions) {
      for (const item of numbered(20)) expect(itemIds(await session.event('many'))).toEqual([item]);
      await session.expectNothing('message', SERVICE);
    }
    await Promise.all([sensor, ...sessions].map((client) => client.close()));
  });
});

describe('what the owner of a node does at one worker holds at another right after the result', () => {
  test('who may publish', async () => {
    const owner = await at(0, 'owner');
    const sensor = await at(1, 'sensor');
    await create(owner, 'rights', { publish_model: 'open', persist_items: '0' });
    for (const item of numbered(40)) {
      const open = Number(item) % 2 === 0;
      await configure(owner, 'rights', { publish_model: open ? 'open' : 'publishers' });
      sensor.send(publish('rights', item));
      const answer = await sensor.expect({ id: `p${item}` });
      expect(answer.attr('type')).toBe(open ? 'result' : 'error');
      if (!open) expect(errorOf(answer).condition).toBe('forbidden');
    }
    await Promise.all([owner.close(), sensor.close()]);
  });

  test('who may subscribe', async () => {
    const owner = await at(0, 'owner');
    const desk = await at(2, 'desk1');
    await create(owner, 'access');
    for (const access_model of ['whitelist', 'open', 'whitelist', 'open']) {
      await configure(owner, 'access', { access_model });
      const answer = await desk.iq('set', pubsub(`<subscribe node='access' jid='${desk.bareJid}'/>`), SERVICE);
      expect(answer.attr('type')).toBe(access_model === 'open' ? 'result' : 'error');
    }
    await Promise.all([owner.close(), desk.close()]);
  });

  test('that it is gone, and that another is there', async () => {
    const owner = await at(0, 'owner');
    const desk = await at(1, 'watcher', true);
    for (let round = 0; round < 20; round++) {
      await create(owner, 'fleeting');
      await subscribe(desk, 'fleeting');
      owner.send(publish('fleeting', String(round)));
      expect(itemIds(await desk.event('fleeting'))).toEqual([String(round)]);
      expect(await storedItems(desk, 'fleeting')).toEqual([String(round)]);
      await remove(owner, 'fleeting');
      const refused = await desk.refused('get', pubsub(`<items node='fleeting'/>`), SERVICE);
      expect(refused.condition).toBe('item-not-found');
      expect((await desk.event('fleeting')).get('event').names()).toEqual(['delete']);
    }
    await desk.expectNothing('message', SERVICE);
    await Promise.all([owner.close(), desk.close()]);
  });

  test('the account itself: made at one worker, it logs in at every other', async () => {
    for (const user of numbered(5, 'fresh')) {
      for (const worker of liveWorkers(server)) await (await clientAt(server, worker, { user })).close();
    }
  });
});

describe('a resource that is taken at another worker', () => {
  test('goes to the later one, the earlier gets conflict, and what is sent to it finds the later', async () => {
    const peer = await at(2, 'peer');
    for (let round = 0; round < 10; round++) {
      const [from, to] = [round % 3, (round + 1) % 3];
      const older = await clientAt(server, liveWorkers(server)[from]!, { user: 'double', resource: 'r' });
      const newer = await clientAt(server, liveWorkers(server)[to]!, { user: 'double', resource: 'r' });
      peer.send(`<message to='${newer.jid}'><body>${round}</body></message>`);
      expect((await newer.message()).get('body').text()).toBe(String(round));
      await older.expectStreamError('conflict');
      await newer.close();
    }
    await peer.expectNothing();
    await peer.close();
  });

  test('at the same moment goes to exactly one, which is the one that gets the messages', async () => {
    const peer = await at(2, 'peer');
    await server.addUsers('race');
    for (let round = 0; round < 15; round++) {
      const rivals = await Promise.all(
        liveWorkers(server).map((worker) => authenticatedAt(server, { at: worker }, { user: 'race' })),
      );
      // Each is either bound or refused, and all but one of the bound are replaced.
      await Promise.all(rivals.map((rival) => rival.bind('r').catch(() => rival.close())));
      peer.send(`<message to='race@localhost/r' id='${round}'><body>${round}</body></message>`);
      const got = await Promise.race(
        rivals.map((rival) =>
          rival.message({ body: String(round) }).then(
            () => rival,
            () => new Promise<never>(() => {}),
          ),
        ),
      );
      for (const rival of rivals) if (rival !== got) await rival.closed;
      await got.close();
    }
    await peer.expectNothing();
    await peer.close();
  });
});

describe('a worker is killed', () => {
  test('under load: others keep their connections, nothing acknowledged is lost, and a new worker serves', async () => {
    const [first, victim, third] = liveWorkers(server) as [number, number, number];
    const owner = await clientAt(server, first, { user: 'owner' });
    const desks = [
      await clientAt(server, first, { user: 'desk1', available: true }),
      await clientAt(server, third, { user: 'desk2', available: true }),
    ];
    const doomed = await clientAt(server, victim, { user: 'desk3', available: true });
    for (const node of ['load-a', 'load-b']) {
      await create(owner, node, { publish_model: 'open', max_items: 'max' });
      for (const desk of [...desks, doomed]) await subscribe(desk, node);
    }
    const cut = new Sensor(await clientAt(server, victim, { user: 'sensor' }), 'load-a');
    const survivor = new Sensor(await clientAt(server, third, { user: 'sensor2' }), 'load-b');
    await Promise.all([cut.reached(200), survivor.reached(200)]);
    const ready = server.log.filter((line) => line.includes('worker is ready')).length;
    process.kill(victim, 'SIGKILL');
    await Promise.all([cut.done, doomed.closed]);
    let seen = 0;
    await server.logged((line) => line.includes('worker is ready') && ++seen > ready);
    await survivor.reached(survivor.acknowledged.length + 200);
    survivor.stop();
    await survivor.done;

    const stored = await storedItems(owner, 'load-a');
    expect(stored, "the victim's items").toEqual(numbered(stored.length));
    expect(cut.acknowledged, 'its answers').toEqual(numbered(cut.acknowledged.length));
    expect(stored.length).toBeGreaterThanOrEqual(cut.acknowledged.length);
    expect(await storedItems(owner, 'load-b'), "the survivor's items").toEqual(survivor.acknowledged);
    for (const desk of desks) {
      await desk.ping(SERVICE);
      const got = (node: string) => desk.unread.filter(isItems(node)).flatMap(itemIds);
      // In order, without a gap, and everything that was acknowledged; one more may have been stored or sent when the worker died.
      expect(got('load-b'), 'notifications of the survivor').toEqual(survivor.acknowledged);
      expect(got('load-a'), 'notifications of the victim').toEqual(numbered(got('load-a').length));
      expect(got('load-a').length).toBeGreaterThanOrEqual(cut.acknowledged.length);
    }

    const successor = liveWorkers(server).find((pid) => ![first, victim, third].includes(pid))!;
    const back = await clientAt(server, successor, { user: 'desk3', available: true });
    back.unread.length = 0;
    const sensor = await clientAt(server, successor, { user: 'sensor' });
    sensor.send(publish('load-a', 'after'));
    for (const desk of [...desks, back]) {
      await desk.expect((element) => isItems()(element) && itemIds(element).includes('after'));
    }
    await Promise.all([owner, back, sensor, ...desks].map((client) => client.close()));
  });

  test('what is for its sessions comes back, and their resources can be taken again', async () => {
    const workers = liveWorkers(server);
    const peer = await clientAt(server, workers[0]!, { user: 'peer' });
    const lost = await clientAt(server, workers[1]!, { user: 'lost', resource: 'r', available: true });
    const ready = server.log.filter((line) => line.includes('worker is ready')).length;
    process.kill(workers[1]!, 'SIGKILL');
    await lost.closed;
    let seen = 0;
    await server.logged((line) => line.includes('worker is ready') && ++seen > ready);
    for (const to of [lost.jid, lost.bareJid]) {
      peer.send(`<message to='${to}' id='m' type='chat'><body>anybody?</body></message>`);
      expect(errorOf(await peer.message({ id: 'm' })).condition).toBe('service-unavailable');
    }
    const again = await clientAt(server, workers[2]!, { user: 'lost', resource: 'r' });
    expect(again.jid).toBe(lost.jid);
    peer.send(`<message to='${again.jid}'><body>there</body></message>`);
    await again.message({ body: 'there' });
    await Promise.all([peer.close(), again.close()]);
  });
});

describe('a worker that starts while another process opens the store', () => {
  test('waits for its turn, however long that takes', async () => {
    const asked = Date.now();
    await server.control('store.opening');
    process.kill(liveWorkers(server)[2]!, 'SIGKILL');
    const isReady = (line: string) =>
      line.includes('worker is ready') && (JSON.parse(line) as { time: number }).time > asked;
    const ready = server.logged(isReady, 25_000);
    // More than whoever asks the supervisor usually waits for the answer.
    while (Date.now() - asked < 9_000) await server.fetch('/healthz');
    await server.control('store.opened');
    await ready;
    expect(server.log.filter((line) => line.includes('does not answer'))).toEqual([]);
  });
});

describe('a restart on the same data', () => {
  test.each(['in order', 'after a kill of all processes'])(
    '%s keeps accounts, nodes, subscriptions and items',
    async (how) => {
      const options = { workers: 2, set: { 'limits.enabled': false } };
      const before = await startServer(options);
      const { dataDir } = before;
      const sensor = await before.client('sensor', { password: undefined });
      const desk = await before.client('desk', { available: true });
      await create(sensor, 'kept', { title: 'Kept', max_items: '50', publish_model: 'publishers' });
      await subscribe(desk, 'kept');
      for (const item of numbered(100)) sensor.send(publish('kept', item));
      for (const item of numbered(100)) await sensor.expect({ id: `p${item}`, type: 'result' });
      if (how === 'in order') {
        before.signal('SIGTERM');
        before.expectEnd();
        expect(await before.ended).toEqual({ code: 0, signal: null });
      } else await before.kill();

      const after = await startServer({ ...options, dataDir });
      try {
        const sensorAgain = await RawClient.login(after, { user: 'sensor' });
        const deskAgain = await RawClient.login(after, { user: 'desk', available: true });
        expect(await storedItems(deskAgain, 'kept')).toEqual(numbered(100).slice(50));
        const refused = await deskAgain.refused(
          'set',
          pubsub(`<publish node='kept'><item><v xmlns='urn:x'/></item></publish>`),
          SERVICE,
        );
        expect(refused.condition).toBe('forbidden');
        const info = await deskAgain.request(
          'get',
          "<query xmlns='http://jabber.org/protocol/disco#info' node='kept'/>",
          SERVICE,
        );
        expect(info.toString()).toContain('<value>Kept</value>');
        sensorAgain.send(publish('kept', 'new'));
        await deskAgain.expect((element) => isItems()(element) && itemIds(element).includes('new'));
        await Promise.all([sensorAgain.close(), deskAgain.close()]);
      } finally {
        await after.stop();
        await before.removeFolder();
      }
    },
  );
});
