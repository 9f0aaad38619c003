import { connect } from 'node:net';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHANNEL, PeerGone } from '../../src/cluster/bus.js';
import { FRAME_MAX, greeting } from '../../src/cluster/frames.js';
import { LocalBus } from '../../src/cluster/local-bus.js';
import type { Fault } from '../../src/cluster/peer.js';
import { counters } from '../../src/metrics/counters.js';
import { bytes, mesh } from './mesh.js';

test('frames of all sizes arrive in order, each once', async () => {
  const { buses } = await mesh(2, { backlogBytes: 1 << 30 });
  const [a, b] = buses as [LocalBus, LocalBus];
  const sizes = [0, 1, 4, 5, 100, 16_383, 65_531, 65_536, 262_139, 262_144, 1_000_000, 3];
  const seen: number[] = [];
  let wrong = 0;
  b.listen(CHANNEL.notify, (from, body) => {
    const index = seen.length;
    seen.push(body.length);
    if (from !== a.self || !body.equals(Buffer.alloc(body.length, index))) wrong++;
  });
  for (let round = 0; round < 20; round++) {
    for (const size of sizes) {
      const body = Buffer.alloc(size, seen.length);
      body.fill(round * sizes.length + sizes.indexOf(size));
      a.send(b.self, CHANNEL.notify, body.subarray(0, size >> 1), body.subarray(size >> 1));
      body.fill(255); // copied before the call returned
    }
    if (round % 3 === 0) await a.barrier();
  }
  await a.barrier();
  expect(seen).toEqual(Array.from({ length: 20 }, () => sizes).flat());
  expect(wrong).toBe(0);
});

test('random frames, sent while others are under way, keep their order both ways', async () => {
  const { buses } = await mesh(3, { backlogBytes: 1 << 30 });
  const next = new Map<string, number>();
  let wrong = 0;
  for (const bus of buses) {
    bus.listen(CHANNEL.stanza, (from, body) => {
      const key = `${from}>${bus.self}`;
      const expected = next.get(key) ?? 0;
      if (body.readUInt32LE(0) !== expected || body[body.length - 1] !== (expected & 255)) wrong++;
      next.set(key, expected + 1);
    });
  }
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;
  const each = 3000;
  const work = buses.map(async (bus) => {
    for (let i = 0; i < each; i++) {
      const body = Buffer.alloc(5 + random(random(50) === 0 ? 200_000 : 300), i & 255);
      body.writeUInt32LE(i);
      body[body.length - 1] = i & 255;
      bus.broadcast(CHANNEL.stanza, body);
      if (random(20) === 0) await new Promise(setImmediate);
    }
    await bus.barrier();
  });
  await Promise.all(work);
  expect(wrong).toBe(0);
  expect([...next.values()]).toEqual(Array.from({ length: 6 }, () => each));
});

test('a barrier resolves after every peer handled what was sent before it', async () => {
  const { buses } = await mesh(3);
  const handled = [0, 0, 0];
  buses.forEach((bus, i) => bus.listen(CHANNEL.node, () => void handled[i]!++));
  for (let i = 1; i <= 50; i++) {
    buses[0]!.broadcast(CHANNEL.node, bytes('x'));
    await buses[0]!.barrier();
    expect(handled).toEqual([0, i, i]);
  }
});

test('barriers of one tick share a frame', async () => {
  const { buses } = await mesh(2);
  const before = counters.busFramesOut;
  await Promise.all(Array.from({ length: 100 }, () => buses[0]!.barrier()));
  expect(counters.busFramesOut - before).toBe(2);
});

test('requests are answered, refused, or rejected when time or the peer runs out', async () => {
  const { buses } = await mesh(2);
  const [a, b] = buses as [LocalBus, LocalBus];
  b.listen(CHANNEL.resume, (from, body) => {
    const text = body.toString();
    if (text === 'now') return Buffer.from(`${from}:${text}`);
    if (text === 'later') return new Promise((resolve) => setImmediate(() => resolve(Buffer.from('late'))));
    if (text === 'throw') throw new Error('no');
    if (text === 'reject') return Promise.reject(new Error('no'));
    if (text === 'never') return new Promise<Uint8Array>(() => undefined);
    return undefined;
  });
  const ask = (text: string, timeout?: number): Promise<string> =>
    a.request(b.self, CHANNEL.resume, bytes(text), timeout).then(String);
  expect(await ask('now')).toBe('1:now');
  expect(await ask('later')).toBe('late');
  expect(await ask('nothing')).toBe('');
  await expect(ask('throw')).rejects.toThrow('worker 2 cannot answer');
  await expect(ask('reject')).rejects.toThrow('worker 2 cannot answer');
  await expect(ask('never', 10)).rejects.toThrow(PeerGone);
  await expect(a.request(b.self, CHANNEL.kick, bytes('x'))).rejects.toThrow('worker 2 cannot answer');
  await expect(a.request(9, CHANNEL.resume, bytes('x'))).rejects.toThrow(PeerGone);
  const pending = ask('never');
  await b.close();
  await expect(pending).rejects.toThrow(PeerGone);
});

test('a listener that throws costs its own frame only', async () => {
  const errors: unknown[] = [];
  const { buses } = await mesh(2, { onError: (error) => errors.push(error) });
  const got: string[] = [];
  buses[1]!.listen(CHANNEL.kick, (_from, body) => {
    if (body.toString() === 'bad') throw new Error('listener');
    got.push(body.toString());
  });
  for (const text of ['a', 'bad', 'b']) buses[0]!.send(2, CHANNEL.kick, bytes(text));
  await buses[0]!.barrier();
  expect(got).toEqual(['a', 'b']);
  expect(errors).toHaveLength(1);
});

test('frames sent when a peer comes up are the first that it gets, and its going is told', async () => {
  const { buses, join } = await mesh(2);
  const [a] = buses as [LocalBus, LocalBus];
  const ups: number[] = [];
  const downs: number[] = [];
  a.onPeerUp((peer) => {
    ups.push(peer);
    a.send(peer, CHANNEL.interest, bytes(`hello ${peer}`));
  });
  a.onPeerDown((peer) => downs.push(peer));
  const got: string[] = [];
  const late = await join((bus) => bus.listen(CHANNEL.interest, (_from, body) => void got.push(body.toString())));
  await a.barrier();
  expect(ups).toEqual([2, 3]);
  expect(got).toEqual(['hello 3']);
  await late.close();
  await expect.poll(() => downs).toEqual([3]);
  expect([...a.peers]).toEqual([2]);
  await a.barrier();
});

test('without peers nothing is sent, waited for or opened', async () => {
  const bus = new LocalBus({ self: 1, backlogBytes: 1 << 20 });
  const before = counters.busFramesOut;
  bus.broadcast(CHANNEL.notify, bytes('x'));
  bus.send(2, CHANNEL.notify, bytes('x'));
  await bus.barrier();
  expect(counters.busFramesOut).toBe(before);
  expect(bus.backlog).toBe(0);
  await bus.close();
});

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
  ['an unknown control', Buffer.from([5, 0, 0, 0, 255, 1, 2, 3, 4])],
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

test('a frame above the bound is refused and counted, and the stream goes on', async () => {
  const { buses } = await mesh(2);
  let got = 0;
  buses[1]!.listen(CHANNEL.notify, () => void got++);
  const before = counters.drops['bus-frame-too-large'] ?? 0;
  buses[0]!.send(2, CHANNEL.notify, Buffer.allocUnsafe(FRAME_MAX + 1));
  buses[0]!.send(2, CHANNEL.notify, bytes('x'));
  await buses[0]!.barrier();
  expect(got).toBe(1);
  expect(counters.drops['bus-frame-too-large']).toBe(before + 1);
});
