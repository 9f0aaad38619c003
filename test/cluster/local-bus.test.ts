import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHANNEL } from '../../src/cluster/bus.js';
import { greeting } from '../../src/cluster/frames.js';
import { LocalBus } from '../../src/cluster/local-bus.js';
import type { Fault } from '../../src/cluster/peer.js';
import { mesh } from './mesh.js';

test('a peer that reads nothing makes us congested, is then cut as stuck, and holds up nobody', async () => {
  const faults: [number, Fault][] = [];
  const { buses, directory } = await mesh(2, { stallSeconds: 1, onFault: (peer, fault) => faults.push([peer, fault]) });
  const [a, b] = buses as [LocalBus, LocalBus];
  // A peer that greets both ways and reads nothing else.
  const path = join(directory, '77');
  const server = createServer((socket) => socket.write(greeting(77))).listen(path);
  await once(server, 'listening');
  const mute = connect(join(directory, '1')).pause();
  mute.on('error', () => undefined);
  mute.write(greeting(77));
  expect(await a.meet(77, path)).toBe(true);
  const congestion: boolean[] = [];
  a.onCongestion((congested) => congestion.push(congested));
  let handled = 0;
  b.listen(CHANNEL.notify, () => void handled++);
  const body = Buffer.alloc(100_000);
  for (let i = 0; i < 18; i++) a.broadcast(CHANNEL.notify, body);
  const barrier = a.barrier();
  await expect.poll(() => handled).toBe(18);
  expect(a.congested).toBe(true);
  expect(a.backlog).toBeGreaterThan(1 << 20);
  expect(faults).toEqual([]);
  await barrier; // resolves as the stuck peer is given up
  expect(faults).toEqual([[77, 'stuck']]);
  expect(a.peers.has(77)).toBe(false);
  expect(congestion).toEqual([true, false]);
  mute.destroy();
  server.close();
});

test('a peer behind which twice the bound piles up is cut at once', async () => {
  const faults: [number, Fault][] = [];
  const { buses, directory } = await mesh(1, { onFault: (peer, fault) => faults.push([peer, fault]) });
  const a = buses[0]!;
  const path = join(directory, '77');
  const server = createServer((socket) => socket.write(greeting(77))).listen(path);
  await once(server, 'listening');
  const mute = connect(join(directory, '1')).pause();
  mute.on('error', () => undefined);
  mute.write(greeting(77));
  await a.meet(77, path);
  for (let i = 0; i < 40; i++) a.send(77, CHANNEL.notify, Buffer.alloc(100_000));
  expect(faults).toEqual([[77, 'stuck']]);
  expect(a.backlog).toBe(0);
  mute.destroy();
  server.close();
});

test.each([
  ['a frame above the bound', Buffer.from([255, 255, 255, 255, 1])],
  ['an empty frame', Buffer.from([0, 0, 0, 0, 1])],
  ['a confirmation of what was never sent', Buffer.from([5, 0, 0, 0, 255, 1, 0, 0, 0])],
  ['a confirmation without its count', Buffer.from([2, 0, 0, 0, 255, 1])],
  ['a control without its id', Buffer.from([2, 0, 0, 0, 253, 1])],
])('%s cuts the peer as garbled', async (_name, frame) => {
  const faults: [number, Fault][] = [];
  const { buses, directory } = await mesh(1, { onFault: (peer, fault) => faults.push([peer, fault]) });
  const path = join(directory, '77');
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write(Buffer.concat([greeting(77), frame]));
  }).listen(path);
  await once(server, 'listening');
  const out = connect(join(directory, '1')).on('error', () => undefined);
  out.write(greeting(77));
  void buses[0]!.meet(77, path);
  await expect.poll(() => faults).toEqual([[77, 'garbled']]);
  out.destroy();
  server.close();
});

test('a connection that does not greet as a worker is closed', async () => {
  const { buses, directory } = await mesh(2);
  for (const text of ['GET / HTTP/1.1\r\n\r\n', greeting(2), greeting(1)]) {
    const socket = connect(join(directory, '1')).on('error', () => undefined);
    socket.write(text);
    await once(socket.resume(), 'close');
  }
  await buses[0]!.barrier();
  expect([...buses[0]!.peers]).toEqual([2]);
});
