import { describe, expect, test } from 'vitest';
import { CHANNEL, PeerGone, type Bus } from '../../src/cluster/bus.js';
import { FRAME_MAX } from '../../src/cluster/frames.js';
import { counters } from '../../src/metrics/counters.js';

export interface Buses {
  /** All acquainted; their numbers count from 1. */
  buses: Bus[];
  /** One more that meets all others; `prepare` sets its listeners before. */
  join(prepare: (bus: Bus) => void): Promise<Bus>;
  /** It leaves in order. */
  leave(bus: Bus): Promise<void>;
}

export interface Conditions {
  backlogBytes?: number;
  onError?: (error: unknown) => void;
}

const bytes = (text: string): Buffer => Buffer.from(text);

/** What a bus promises, however it carries the frames. */
export function busConformance(make: (size: number, conditions: Conditions) => Promise<Buses>): void {
  describe('a bus', () => {
    test('carries frames of all sizes in order, each once', async () => {
      const { buses } = await make(2, { backlogBytes: 1 << 30 });
      const [a, b] = buses as [Bus, Bus];
      const sizes = [0, 1, 4, 5, 100, 16_383, 65_531, 65_536, 262_139, 262_144, 262_145, 1_000_000, 3, 3_000_000];
      const seen: number[] = [];
      let wrong = 0;
      b.listen(CHANNEL.notify, (from, body) => {
        const index = seen.length;
        seen.push(body.length);
        if (from !== a.self || !body.equals(Buffer.alloc(body.length, index))) wrong++;
      });
      const rounds = 5;
      for (let round = 0; round < rounds; round++) {
        for (const [i, size] of sizes.entries()) {
          const body = Buffer.alloc(size, round * sizes.length + i);
          a.send(b.self, CHANNEL.notify, body.subarray(0, size >> 1), body.subarray(size >> 1));
          body.fill(255); // copied before the call returned
        }
        if (round % 3 === 0) await a.barrier();
      }
      await a.barrier();
      expect(seen).toEqual(Array.from({ length: rounds }, () => sizes).flat());
      expect(wrong).toBe(0);
    });

    test('keeps the order of frames for one and for all, both ways, while others are under way', async () => {
      const { buses } = await make(3, { backlogBytes: 1 << 30 });
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
      const each = 1500;
      const work = buses.map(async (bus) => {
        for (let i = 0; i < each; i++) {
          const body = Buffer.alloc(5 + random(random(50) === 0 ? 200_000 : 300), i & 255);
          body.writeUInt32LE(i);
          body[body.length - 1] = i & 255;
          if (random(2) === 0) bus.broadcast(CHANNEL.stanza, body);
          else for (const peer of bus.peers) bus.send(peer, CHANNEL.stanza, body);
          if (random(20) === 0) await new Promise(setImmediate);
        }
        await bus.barrier();
      });
      await Promise.all(work);
      expect(wrong).toBe(0);
      expect([...next.values()]).toEqual(Array.from({ length: 6 }, () => each));
    });

    test('has barriers that resolve after the peers handled what was sent before', async () => {
      const { buses } = await make(3, {});
      const handled = [0, 0, 0];
      buses.forEach((bus, i) => bus.listen(CHANNEL.node, () => void handled[i]!++));
      for (let i = 1; i <= 50; i++) {
        buses[0]!.broadcast(CHANNEL.node, bytes('x'));
        await buses[0]!.barrier(i % 2 === 0 ? undefined : [2]);
        expect(handled[1]).toBe(i);
        if (i % 2 === 0) expect(handled[2]).toBe(i);
      }
      await buses[0]!.barrier([]);
      await buses[0]!.barrier([99]);
      expect(handled[0]).toBe(0);
    });

    test('says when what was sent outlives the sender: it still arrives when that one leaves at once', async () => {
      const { buses, leave } = await make(3, {});
      const handled: string[][] = [[], [], []];
      buses.forEach((bus, i) => bus.listen(CHANNEL.node, (_from, body) => void handled[i]!.push(body.toString())));
      await buses[0]!.delivered([]);
      await buses[0]!.delivered([99]);
      const sent = Array.from({ length: 200 }, (_, i) => String(i));
      const settled: Promise<void>[] = [];
      for (const one of sent) {
        buses[0]!.send(2, CHANNEL.node, bytes(one));
        buses[0]!.send(3, CHANNEL.node, bytes(one));
        settled.push(buses[0]!.delivered([2, 3]));
        if (settled.length % 7 === 0) await new Promise(setImmediate);
      }
      await Promise.all(settled);
      await leave(buses[0]!);
      for (const at of [1, 2]) while (handled[at]!.length < sent.length) await new Promise(setImmediate);
      expect(handled).toEqual([[], sent, sent]);
    });

    test('gives back what a peer that leaves in order did not handle, and nothing else', async () => {
      const { buses, leave } = await make(3, {});
      const [a, b, c] = buses as [Bus, Bus, Bus];
      const back: number[] = [];
      const handled: number[] = [];
      for (const bus of buses) {
        bus.listen(CHANNEL.stanza, (_from, body) => void (bus === b && handled.push(body.readUInt32LE(0))));
        bus.onUndelivered(CHANNEL.stanza, (_peer, body) => void back.push(body.readUInt32LE(0)));
      }
      const sent = 300;
      const down = new Promise<void>((resolve) => a.onPeerDown((peer) => peer === b.self && resolve()));
      let left: Promise<void> | undefined;
      for (let i = 0; i < sent; i++) {
        const body = Buffer.alloc(i % 100 === 50 ? 600_000 : 50);
        body.writeUInt32LE(i);
        a.send(b.self, CHANNEL.stanza, body);
        if (i === 200) left = leave(b);
        if (i % 10 === 0) await new Promise(setImmediate);
      }
      await Promise.all([left, down]);
      await a.barrier([c.self]);
      // What was handled is not given back, and what is given back follows it.
      expect([...handled, ...back]).toEqual(Array.from({ length: handled.length + back.length }, (_, i) => i));
      expect(handled.length).toBeGreaterThan(0);
    });

    test('shares one frame among the barriers of a tick', async () => {
      const { buses } = await make(2, {});
      await buses[0]!.barrier();
      const before = counters.busFramesOut;
      await Promise.all(Array.from({ length: 100 }, () => buses[0]!.barrier()));
      expect(counters.busFramesOut - before).toBe(2);
    });

    test('answers requests, refuses them, or rejects when time or the peer runs out', async () => {
      const { buses, leave } = await make(2, {});
      const [a, b] = buses as [Bus, Bus];
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
      await expect(a.request(99, CHANNEL.resume, bytes('x'))).rejects.toThrow(PeerGone);
      const pending = ask('never', 20_000);
      await Promise.all([expect(pending).rejects.toThrow(PeerGone), leave(b)]);
    });

    test('loses no more than its frame to a listener that throws', async () => {
      const errors: unknown[] = [];
      const { buses } = await make(2, { onError: (error) => errors.push(error) });
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

    test('sends first what is sent when a peer comes up, and tells when it goes', async () => {
      const { buses, join, leave } = await make(2, {});
      const [a] = buses as [Bus];
      const ups: number[] = [];
      const downs: number[] = [];
      a.onPeerUp((peer) => {
        ups.push(peer);
        a.send(peer, CHANNEL.interest, bytes(`hello ${peer}`));
      });
      a.onPeerDown((peer) => downs.push(peer));
      const got: string[] = [];
      const late = await join((bus) => bus.listen(CHANNEL.interest, (_from, body) => void got.push(body.toString())));
      // Whoever has joined is known, and knows what the others had to say first.
      expect(ups).toEqual([2, 3]);
      expect(got).toEqual(['hello 3']);
      expect([...a.peers].sort()).toEqual([2, 3]);
      a.broadcast(CHANNEL.interest, bytes('all'));
      await a.barrier();
      expect(got).toEqual(['hello 3', 'all']);
      late.broadcast(CHANNEL.interest, bytes('last words'));
      const heard: string[] = [];
      a.listen(CHANNEL.interest, (_from, body) => void heard.push(body.toString()));
      await leave(late);
      await expect.poll(() => downs).toEqual([3]);
      expect(heard).toEqual(['last words']);
      expect([...a.peers]).toEqual([2]);
      await a.barrier();
    });

    test('sends, waits for and keeps nothing without peers', async () => {
      const { buses } = await make(1, {});
      const [bus] = buses as [Bus];
      const before = counters.busFramesOut;
      bus.broadcast(CHANNEL.notify, bytes('x'));
      bus.send(2, CHANNEL.notify, bytes('x'));
      await bus.barrier();
      await bus.barrier([2]);
      expect(counters.busFramesOut).toBe(before);
      expect(bus.backlog).toBe(0);
      await bus.close();
    });

    test('is congested while more waits for a peer than is good, and says so', async () => {
      const { buses } = await make(2, { backlogBytes: 1 << 20 });
      const [a, b] = buses as [Bus, Bus];
      const changes: boolean[] = [];
      a.onCongestion((congested) => changes.push(congested));
      let handled = 0;
      b.listen(CHANNEL.notify, () => void handled++);
      for (let i = 0; i < 18; i++) a.send(b.self, CHANNEL.notify, Buffer.alloc(100_000));
      const barrier = a.barrier();
      await expect.poll(() => changes).toContain(true);
      await barrier;
      expect(handled).toBe(18);
      await expect.poll(() => changes).toEqual([true, false]);
      expect(a.congested).toBe(false);
    });

    test('refuses and counts a frame above the bound, and goes on', async () => {
      const { buses } = await make(2, {});
      let got = 0;
      buses[1]!.listen(CHANNEL.notify, () => void got++);
      const before = counters.drops['bus_frame_too_large'] ?? 0;
      buses[0]!.send(2, CHANNEL.notify, Buffer.allocUnsafe(FRAME_MAX + 1));
      buses[0]!.send(2, CHANNEL.notify, bytes('x'));
      await buses[0]!.barrier();
      expect(got).toBe(1);
      expect(counters.drops['bus_frame_too_large']).toBe(before + 1);
    });

    test('has nothing left to do once it is closed', async () => {
      const { buses, leave } = await make(3, {});
      const [a, b] = buses as [Bus, Bus];
      await leave(a);
      a.send(2, CHANNEL.notify, bytes('x'));
      a.broadcast(CHANNEL.notify, bytes('x'));
      await a.barrier();
      await expect(a.request(2, CHANNEL.resume, bytes('x'))).rejects.toThrow(PeerGone);
      await expect.poll(() => [...b.peers]).toEqual([3]);
      await b.barrier();
    });
  });
}
