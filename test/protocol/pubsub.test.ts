import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NS } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { create, pubsub, publish, SERVICE, storedItems, subscribe } from './support/pubsub.js';

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ workers: 2, set: { 'limits.enabled': false } });
});
afterAll(() => server.stop());

describe("an owner's answer to a subscription request (XEP-0060 §8.6)", () => {
  const answer = (node: string, jid: string) => {
    const fields = Object.entries({ node, subscriber_jid: jid, allow: 'true' }).map(
      ([name, value]) => `<field var='pubsub#${name}'><value>${value}</value></field>`,
    );
    const type = `<field var='FORM_TYPE' type='hidden'><value>${NS.pubsub}#subscribe_authorization</value></field>`;
    return `<message to='${SERVICE}'><x xmlns='jabber:x:data' type='submit'>${type}${fields.join('')}</x></message>`;
  };

  it('is done before what the owner sends next (RFC 6120 §10.1)', async () => {
    const owner = await server.client('owner', { available: true });
    const reader = await server.client('reader', { available: true });
    for (let round = 0; round < 20; round++) {
      const node = `asking-${round}`;
      await create(owner, node, { access_model: 'authorize', send_last_published_item: 'never' });
      await subscribe(reader, node);
      owner.send(answer(node, reader.bareJid) + publish(node, String(round)));
      expect((await reader.event(node)).get('event').elements()[0]!.name).toBe('subscription');
      expect((await reader.event(node)).get('event').elements()[0]!.name).toBe('items');
    }
    await Promise.all([owner.close(), reader.close()]);
  });
});

describe('an item (XEP-0060 §7.1.3)', () => {
  it.each([
    ['with text before its payload', `<item id='1'>text <v xmlns='urn:x'/></item>`, 'invalid-payload'],
    ['with text behind its payload', `<item id='1'><v xmlns='urn:x'/>&amp;</item>`, 'invalid-payload'],
    ['with CDATA before its payload', `<item id='1'><![CDATA[]]]]><v xmlns='urn:x'/></item>`, 'invalid-payload'],
    ['with CDATA behind its payload', `<item id='1'><v xmlns='urn:x'/><![CDATA[x]]></item>`, 'invalid-payload'],
    ['with an empty id', `<item id=''><v xmlns='urn:x'/></item>`, undefined],
  ])('%s is refused, also by a worker that knows the node', async (_what, item, detail) => {
    const owner = await server.client('owner');
    const node = `strict-${_what.replaceAll(' ', '-')}`;
    await create(owner, node);
    owner.send(publish(node, 'known'));
    await owner.expect({ id: 'pknown', type: 'result' });
    const refused = await owner.iq('set', pubsub(`<publish node='${node}'>${item}</publish>`), SERVICE);
    expect(refused.attr('type')).toBe('error');
    const names = refused
      .get('error')
      .elements(undefined, NS.pubsubErrors)
      .map(({ name }) => name);
    expect(names).toEqual(detail === undefined ? [] : [detail]);
    const spaced = `<item id='spaced'>\r\n\t <v xmlns='urn:x'/> \n</item>`;
    await owner.request('set', pubsub(`<publish node='${node}'>${spaced}</publish>`), SERVICE);
    expect(await storedItems(owner, node)).toEqual(['known', 'spaced']);
    await owner.close();
  });
});

describe('a node that rejects what it has no room for (XEP-0060 §7.1.3.4)', () => {
  it('keeps exactly what it took, of many that publish at the same time', async () => {
    const owner = await server.client('owner');
    const options = { max_items: '10', publish_node_full: 'reject', publish_model: 'open' };
    await create(owner, 'full', options);
    const sensors = await Promise.all(Array.from({ length: 20 }, (_, i) => server.client(`sensor${i}`)));
    for (const [i, sensor] of sensors.entries())
      sensor.send(publish('full', String(i)) + publish('full', `again-${i}`));
    const taken: string[] = [];
    for (const [i, sensor] of sensors.entries()) {
      for (const item of [String(i), `again-${i}`]) {
        const answer = await sensor.expect({ id: `p${item}` });
        if (answer.attr('type') === 'result') taken.push(item);
      }
    }
    expect(taken).toHaveLength(10);
    expect((await storedItems(owner, 'full')).sort()).toEqual(taken.sort());
    await Promise.all([owner, ...sensors].map((client) => client.close()));
  });
});
