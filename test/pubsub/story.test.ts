import { describe, expect, it } from 'vitest';
import { World, form, itemIds } from './support/world.js';

const EVENT = 'http://jabber.org/protocol/pubsub#event';

describe('a sensor publishes and a dashboard sees it', () => {
  it('delivers each item to every available session of the subscribed bare JID, once', async () => {
    const world = new World();
    const sensor = await world.login('sensor@localhost/s');
    const desk = await world.login('ops@localhost/desk');
    const phone = await world.login('ops@localhost/phone');
    const away = world.bind('ops@localhost/away');
    await sensor.create('t');
    const result = await desk.subscribe('t');
    expect(result!.child('subscription')!.attrs).toMatchObject({
      node: 't',
      jid: 'ops@localhost',
      subscription: 'subscribed',
    });
    await sensor.publish('t', 'one');
    for (const session of [desk, phone]) {
      const [message, ...rest] = session.take();
      expect(rest).toEqual([]);
      expect(message!.attrs).toMatchObject({ from: 'pubsub.localhost', to: 'ops@localhost', type: 'headline' });
      expect(message!.attr('id')).toMatch(/./);
      expect(message!.child('event', EVENT)!.child('items')!.attr('node')).toBe('t');
      expect(itemIds(message!)).toEqual(['one']);
      expect(message!.child('event', EVENT)!.child('items')!.child('item')!.child('v', 'urn:x')!.text()).toBe('one');
    }
    expect(away.raw).toEqual([]);
  });

  it('takes a plain publish on the hot path once the node is known, and answers as the other road does', async () => {
    const world = new World();
    const sensor = await world.login('sensor@localhost/s');
    const desk = await world.login('ops@localhost/desk');
    for (const persist of ['0', '1']) {
      const node = `t${persist}`;
      await sensor.create(node, { persist_items: persist });
      expect(sensor.hot(node, 'a')).toBe(false);
      await desk.subscribe(node);
      await sensor.publish(node, 'b');
      expect(itemIds(await desk.next())).toEqual(['b']);
      expect(sensor.hot(node, "it's", undefined, "i'd")).toBe(true);
      const result = await sensor.next();
      expect(result.attrs).toMatchObject({ type: 'result', id: "i'd", to: 'sensor@localhost/s' });
      const published = result.child('pubsub', 'http://jabber.org/protocol/pubsub')!.child('publish')!;
      expect(published.attr('node')).toBe(node);
      expect(published.child('item')!.attr('id')).toBe("it's");
      expect(itemIds(await desk.next())).toEqual(["it's"]);
      expect(sensor.hot(node, undefined)).toBe(true);
      const id = (await sensor.next())
        .child('pubsub', 'http://jabber.org/protocol/pubsub')!
        .child('publish')!
        .child('item')!
        .attr('id')!;
      expect(id).toMatch(/./);
      expect(itemIds(await desk.next())).toEqual([id]);
    }
  });

  it('checks the namespace of payloads on both roads', async () => {
    const sensor = await new World().login('sensor@localhost/s');
    await sensor.create('t', { type: 'urn:x' });
    await sensor.publish('t', 'a');
    expect(sensor.hot('t', 'b', `<v xmlns='urn:x'/>`)).toBe(true);
    expect(sensor.hot('t', 'c', `<v xmlns='urn:y'/>`)).toBe(false);
    await sensor.publish('t', 'd', `<p:v xmlns:p='urn:x'/>`);
  });

  it('escapes node names and keeps text beyond ASCII', async () => {
    const world = new World();
    const sensor = await world.login('sensor@localhost/s');
    const desk = await world.login('ops@localhost/desk');
    const name = `a'b"&lt;ü日`;
    await sensor.set(`<create node="${name.replace('"', '&quot;')}"/>`);
    const node = `a'b"<ü日`;
    await desk.set(`<subscribe node="${name.replace('"', '&quot;')}" jid='ops@localhost'/>`);
    await sensor.set(
      `<publish node="${name.replace('"', '&quot;')}"><item id='x'><v xmlns='urn:x'>ß</v></item></publish>`,
    );
    await desk.next();
    expect(sensor.hot(node, 'é', "<v xmlns='urn:x'>日本</v>")).toBe(true);
    const items = (await desk.next()).child('event', EVENT)!.child('items')!;
    expect(items.attr('node')).toBe(node);
    expect(items.child('item')!.attr('id')).toBe('é');
    expect(items.child('item')!.child('v', 'urn:x')!.text()).toBe('日本');
  });

  it('gives each payload its own namespaces, whichever it inherited', async () => {
    const world = new World();
    const sensor = await world.login('sensor@localhost/s');
    await sensor.create('t');
    await sensor.set(`<publish node='t'><item id='a'><v/></item></publish>`);
    await sensor.set(`<publish node='t'><item id='b'><v xmlns=''><w xmlns='urn:w'/></v></item></publish>`);
    const items = (await sensor.get(`<items node='t'/>`))!.child('items')!.elements('item');
    expect(items[0]!.child('v', 'http://jabber.org/protocol/pubsub')).toBeDefined();
    expect(items[1]!.child('v', '')!.child('w', 'urn:w')).toBeDefined();
  });

  it('reaches the very session of a full JID, available or not', async () => {
    const world = new World();
    const sensor = await world.login('sensor@localhost/s');
    const desk = world.bind('ops@localhost/desk');
    const other = await world.login('ops@localhost/other');
    await sensor.create('t');
    await desk.subscribe('t', 'ops@localhost/desk');
    await sensor.publish('t', 'a');
    const message = await desk.next();
    expect(message.attr('to')).toBe('ops@localhost/desk');
    expect(other.raw).toEqual([]);
    // Both ways: one notification, at the nearer address.
    await other.subscribe('t', 'ops@localhost/other');
    await other.subscribe('t');
    await world.quiet();
    other.take();
    await sensor.publish('t', 'b');
    expect(other.take().map((stanza) => stanza.attr('to'))).toEqual(['ops@localhost/other']);
  });

  it('stops at unsubscribing, unavailability, a negative priority and the end of the session', async () => {
    const world = new World();
    const sensor = await world.login('sensor@localhost/s');
    const desk = await world.login('ops@localhost/desk');
    await sensor.create('t', { send_last_published_item: 'never' });
    await desk.subscribe('t');
    desk.leave();
    await sensor.publish('t', '1');
    expect(desk.take()).toEqual([]);
    await desk.come(-1);
    await sensor.publish('t', '2');
    expect(desk.take()).toEqual([]);
    await desk.come(5);
    await sensor.publish('t', '3');
    expect(desk.take().flatMap(itemIds)).toEqual(['3']);
    await desk.set(`<unsubscribe node='t' jid='ops@localhost'/>`);
    desk.take();
    await sensor.publish('t', '4');
    expect(desk.take()).toEqual([]);
    await desk.subscribe('t');
    desk.close();
    await sensor.publish('t', '5');
    const back = await world.login('ops@localhost/desk');
    await sensor.publish('t', '6');
    expect(back.take().flatMap(itemIds)).toEqual(['6']);
  });

  it('honours the type, the payload option and the publisher of the node', async () => {
    const world = new World();
    const sensor = await world.login('sensor@localhost/s');
    const desk = await world.login('ops@localhost/desk');
    await sensor.create('t', { notification_type: 'normal', itemreply: 'publisher' });
    await desk.subscribe('t');
    await sensor.publish('t', 'a');
    let message = await desk.next();
    expect(message.attr('type')).toBe('normal');
    expect(message.child('event', EVENT)!.child('items')!.child('item')!.attr('publisher')).toBe('sensor@localhost');
    await sensor.own(
      'set',
      `<configure node='t'>${form('node_config', { deliver_payloads: '0', notification_type: 'headline' })}</configure>`,
    );
    await sensor.publish('t', 'b');
    expect(sensor.hot('t', 'c')).toBe(true);
    for (const id of ['b', 'c']) {
      message = await desk.next();
      expect(message.attr('type')).toBe('headline');
      const item = message.child('event', EVENT)!.child('items')!.child('item')!;
      expect(item.attr('id')).toBe(id);
      expect(item.children).toEqual([]);
    }
    await sensor.own('set', `<configure node='t'>${form('node_config', { deliver_notifications: '0' })}</configure>`);
    await sensor.publish('t', 'd');
    expect(desk.take()).toEqual([]);
  });
});
