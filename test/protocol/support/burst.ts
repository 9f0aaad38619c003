import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'vitest';
import { NS, type LoginOptions, type RawClient } from '../../support/client.js';
import type { TestServer } from '../../support/server.js';
import { Device, message, numbered, random } from './device.js';
import { create, publish } from './pubsub.js';

export interface BurstOptions {
  seed: number;
  /** Messages to the device from another user, and from the device to that one. */
  messages: number;
  /** Readings published to a node that the device is subscribed to; 0 leaves the node out. */
  items?: number;
  /** Bytes of padding in each message. */
  size?: number;
  /** Stanzas between two cuts, at most. */
  between?: number;
  /** How the device comes back; the default is the way it came. */
  resume?: (device: Device, cut: number) => Promise<void>;
  login?: Partial<LoginOptions>;
}

/**
 * Messages, readings and the device's own messages are under way, and the device's cable is pulled again and again in moments that
 * `seed` decides; each time it comes back, having acknowledged some of what it got. In the end everything has arrived at both sides once
 * and in order. Returns how often it was cut.
 */
export async function burst(server: TestServer, options: BurstOptions): Promise<number> {
  const { seed, messages, items = 0, size = 0, between = 80 } = options;
  const next = random(seed);
  const node = `burst-${seed}-${items}`;
  const names = { device: `device${seed}`, peer: `peer${seed}`, sensor: `sensor${seed}` };
  await server.addUsers(...Object.values(names));
  const peer = await server.client(names.peer);
  const sensor = await server.client(names.sensor);
  const device = await Device.login(server, {
    ...options.login,
    user: names.device,
    available: true,
    acknowledging: next,
  });
  if (items > 0) await subscribe(sensor, device, node);
  const padding = 'x'.repeat(size);
  const atPeer: string[] = [];
  peer.watcher = (element) => {
    if (element.name !== 'message') return;
    atPeer.push(element.get('body').text());
    device.look();
  };
  const complete = () =>
    device.bodies().length >= messages &&
    device.items(node).length >= items &&
    atPeer.length >= messages &&
    device.unacknowledged === 0;
  const done = device.until(
    complete,
    () =>
      `seed ${seed}: ${device.bodies().length} of ${messages} messages, ${device.items(node).length} of ${items} items, ` +
      `${atPeer.length} of ${messages} at the peer, ${device.unacknowledged} unacknowledged`,
  );
  const feed = (async () => {
    for (let i = 0; i < messages; i++) {
      peer.send(message(device.jid, `${i}${padding}`));
      device.send(message(peer.jid, `${i}${padding}`));
      if (next() < 0.05) device.request();
      if (next() < 0.2) await turn();
    }
    // The last of its own are acknowledged only when it asks.
    await device.until(() => atPeer.length >= messages, 'all at the peer');
    device.request();
  })();
  const publishing = (async () => {
    for (let i = 0; i < items; i++) {
      sensor.send(publish(node, `${i}`));
      if (next() < 0.3) await turn();
    }
  })();
  let cuts = 0;
  const cut = () => device.cutAfter(1 + Math.floor(next() * between)).then(() => true);
  let now = cut();
  while (await Promise.race([now, done.then(() => false)])) {
    cuts++;
    // Before it comes back, since all that waits may come in one piece.
    now = cut();
    if (options.resume === undefined) await device.resume();
    else await options.resume(device, cuts);
    // The question may have been cut off.
    device.request();
  }
  await Promise.all([feed, publishing]);
  if (!device.attached) await device.resume();
  await device.ping();
  await peer.ping();
  const bodies = numbered(messages).map((body) => body + padding);
  expect(device.bodies(), `seed ${seed}: messages to the device`).toEqual(bodies);
  expect(atPeer, `seed ${seed}: messages from the device`).toEqual(bodies);
  if (items > 0) expect(device.items(node), `seed ${seed}: readings`).toEqual(numbered(items));
  await Promise.all([device.leave(), peer.close(), sensor.close()]);
  return cuts;
}

async function subscribe(sensor: RawClient, device: Device, node: string): Promise<void> {
  await create(sensor, node);
  device.send(
    `<iq type='set' id='subscribe' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'><subscribe node='${node}' jid='${device.bareJid}'/></pubsub></iq>`,
  );
  await device.until(() => device.handled.some((stanza) => stanza.attr('id') === 'subscribe'));
}
