import { expect, test } from 'vitest';
import { CHANNEL, PeerGone } from '../../src/cluster/bus.js';
import { parseJid } from '../../src/jid/jid.js';
import { MOVE } from '../../src/session/moving/frames.js';
import type { Session } from '../../src/session/session.js';
import type { Outbox, Sink } from '../../src/stream/outbox.js';
import { whole } from '../../src/stream/outbox.js';
import { numbered, random } from '../protocol/support/device.js';
import { Sender, Workers, ask, type TestWorker } from './support/workers.js';

const FULL = 'device@localhost/d';
const NODES = ['kept', 'passing'];
const ROUNDS = 60;

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A client that resumes, reads some, loses some of what was written to it, and is cut. */
class Client {
  readonly got: string[] = [];

  constructor(private readonly pick: (choices: number) => number) {}

  /** Takes part of what waits; what is written beyond that is lost on the way. */
  visit(session: Session): void {
    const { outbox } = session;
    expect(outbox.covers(this.got.length)).toBe(true);
    outbox.acknowledge(this.got.length);
    const left = session.stopWaiting();
    outbox.rewind();
    let reads = this.pick(40);
    let writes = reads + this.pick(20);
    const sink: Sink = {
      writable: true,
      drain: (from: Outbox) => {
        while (writes-- > 0) {
          const shared = from.takeOne();
          if (shared === undefined) return;
          if (reads-- > 0) this.got.push(whole({ head: from.head, shared }).bytes.toString());
        }
      },
    };
    sink.drain(outbox);
    session.wait(left);
  }

  /** Takes all that waits. */
  finish({ outbox }: Session): void {
    expect(outbox.acknowledge(this.got.length)).toBe(true);
    outbox.rewind();
    for (let shared = outbox.takeOne(); shared !== undefined; shared = outbox.takeOne()) {
      this.got.push(whole({ head: outbox.head, shared }).bytes.toString());
    }
  }

  of(form: string, name: string): number[] {
    const matches = this.got.flatMap((stanza) => new RegExp(`>${form} ${name} (\\d+)<`).exec(stanza)?.[1] ?? []);
    return matches.map(Number);
  }

  items(node: string, name: string): number[] {
    const pattern = new RegExp(`<items node='${node}'><item id='${name} (\\d+)'`);
    return this.got.flatMap((stanza) => pattern.exec(stanza)?.[1] ?? []).map(Number);
  }
}

async function begin(seed: number, count = 3) {
  const next = random(seed);
  const pick = (choices: number) => Math.floor(next() * choices);
  // Some ways are slower than others, other ones for each seed.
  const slow = (seed % 3) * 2 + 1;
  const arrive = (choices: number) => {
    const place = Math.floor(next() ** slow * choices);
    return seed % 2 === 0 ? place : choices - 1 - place;
  };
  const workers = new Workers(count, pick, arrive);
  const [first] = workers.all as [TestWorker];
  const session = await workers.session(first, FULL);
  const owner = await workers.session(first, 'owner@localhost/o');
  for (const node of NODES) {
    const fields = { 'pubsub#persist_items': node === 'kept' ? '1' : '0', 'pubsub#publish_model': 'open' };
    const values = Object.entries(fields).map(
      ([name, value]) => `<field var='${name}'><value>${value}</value></field>`,
    );
    const form = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field>${values.join('')}</x>`;
    await ask(first, owner, `<create node='${node}'/><configure>${form}</configure>`);
    await ask(first, session, `<subscribe node='${node}' jid='${session.jid.bare}'/>`);
  }
  const senders: Sender[] = [];
  for (const [index, worker] of workers.all.entries()) {
    senders.push(await Sender.make(workers, worker, `s${index}`, parseJid(FULL)!));
  }
  await workers.quiet();
  return { pick, workers, session, senders, client: new Client(pick) };
}

/** Each sender sends so often, at its own pace. */
const sending = (senders: readonly Sender[], pick: (choices: number) => number) =>
  Promise.all(
    senders.map(async (sender) => {
      while (sender.sent < ROUNDS) {
        await sender.send(NODES);
        for (let pause = pick(8); pause > 0; pause--) await turn();
      }
    }),
  );

const SEEDS = Array.from({ length: Number(process.env.THRUM_TEST_SEEDS ?? 25) }, (_, index) => index + 1);
const ALL = numbered(ROUNDS).map(Number);

test.each(SEEDS)('a session that goes from worker to worker has each stanza once, in order (seed %i)', async (seed) => {
  const { pick, workers, senders, client } = await begin(seed);
  let sent = false;
  const sends = sending(senders, pick).then(() => (sent = true));
  let moves = 0;
  while (!sent || moves < 3) {
    const [holder] = workers.holders(FULL) as [TestWorker];
    const session = holder.context.registry.full(FULL)!;
    const others = workers.all.filter((worker) => worker !== holder);
    expect(await holder.moving.move(session, others[pick(others.length)]!.bus.self)).toBe(true);
    moves++;
    expect(workers.holders(FULL)).toHaveLength(1);
    if (pick(2) === 0) client.visit(workers.holders(FULL)[0]!.context.registry.full(FULL)!);
    for (let pause = pick(40); pause > 0; pause--) await turn();
  }
  await sends;
  await workers.quiet();
  const [holder] = workers.holders(FULL) as [TestWorker];
  client.finish(holder.context.registry.full(FULL)!);
  for (const { name, refused } of senders) {
    expect(refused).toEqual([]);
    expect(client.of('full', name), `${moves} moves, messages of ${name}`).toEqual(ALL);
    expect(client.of('bare', name), `${moves} moves, messages of ${name} to the bare JID`).toEqual(ALL);
    for (const node of NODES) expect(client.items(node, name), `${node} ${name}`).toEqual(ALL);
  }
});

/** Waits some turns, other ones for each seed. */
async function pause(pick: (choices: number) => number, turns: number): Promise<void> {
  for (let left = pick(turns); left > 0; left--) await turn();
}

const increasing = (numbers: number[]) => numbers.every((number, index) => index === 0 || number > numbers[index - 1]!);

test.each(SEEDS)('a worker dies to which the session goes: it goes on where it was (seed %i)', async (seed) => {
  const { pick, workers, senders, client, session } = await begin(seed);
  const [old, dying] = workers.all as [TestWorker, TestWorker];
  const living = [senders[0]!, senders[2]!];
  const sends = sending(living, pick);
  await pause(pick, 100);
  const move = old.moving.move(session, dying.bus.self);
  await pause(pick, 80);
  workers.kill(dying);
  const moved = await move;
  await sends;
  await workers.quiet();
  if (moved) return expect(workers.holders(FULL)).toEqual([]);
  expect(workers.holders(FULL)).toEqual([old]);
  expect(session.ended).toBe(false);
  for (const sender of living) await sender.send(NODES);
  await workers.quiet();
  client.finish(session);
  for (const { name } of living) {
    // What was sent to the dying worker died with it.
    for (const form of ['full', 'bare']) {
      expect(increasing(client.of(form, name)), `${form} ${name}`).toBe(true);
      expect(client.of(form, name).at(-1)).toBe(ROUNDS);
    }
    for (const node of NODES) expect(client.items(node, name), `${node} ${name}`).toEqual([...ALL, ROUNDS]);
  }
});

test.each(SEEDS)('the worker dies from which the session goes: all of it is there, or none (seed %i)', async (seed) => {
  const { pick, workers, senders, client, session } = await begin(seed);
  const [old, to] = workers.all as [TestWorker, TestWorker];
  const living = senders.slice(1);
  const sends = sending(living, pick);
  await pause(pick, 100);
  void old.moving.move(session, to.bus.self);
  await pause(pick, 120);
  workers.kill(old);
  await sends;
  await workers.quiet();
  if (workers.holders(FULL).length === 0) return expect(workers.rows.has(FULL)).toBe(false);
  expect(workers.holders(FULL)).toEqual([to]);
  const found = to.context.registry.full(FULL)!;
  expect(found.moving).toBe(undefined);
  client.finish(found);
  for (const { name } of living) {
    expect(client.of('full', name)).toEqual(ALL);
    expect(client.of('bare', name)).toEqual(ALL);
    for (const node of NODES) expect(client.items(node, name), `${node} ${name}`).toEqual(ALL);
  }
});

test.each(SEEDS)(
  'another session takes the resource meanwhile, and gets every message once (seed %i)',
  async (seed) => {
    const { pick, workers, senders, client, session } = await begin(seed);
    const [old, to] = workers.all as [TestWorker, TestWorker];
    const sends = sending(senders, pick);
    await pause(pick, 60);
    void old.moving.move(session, to.bus.self);
    await pause(pick, 80);
    const heir = await workers.bind(workers.all[pick(3)]!, FULL);
    await sends;
    await workers.quiet();
    expect(workers.rows.get(FULL)?.id).toBe(heir.id);
    expect(workers.all.flatMap(({ context }) => context.registry.bare(heir.jid.bare))).toEqual([heir]);
    client.finish(heir);
    for (const sender of senders) {
      const back = sender.errors('full');
      const got = [...client.of('full', sender.name), ...back].sort((a, b) => a - b);
      expect(got, `${sender.name}, ${back.length} returned`).toEqual(ALL);
    }
  },
);

test.each(SEEDS)(
  'an answer about a session that goes is lost: it is at one of both, with all (seed %i)',
  async (seed) => {
    const { pick, workers, senders, client, session } = await begin(seed);
    const [old, to] = workers.all as [TestWorker, TestWorker];
    const lost = [MOVE.adopt, MOVE.done][seed % 2];
    const request = old.bus.request.bind(old.bus);
    old.bus.request = async (peer, channel, body) => {
      const answer = await request(peer, channel, body);
      // As when both begin anew with each other.
      if (channel === CHANNEL.move && body[0] === lost) throw new PeerGone(peer);
      return answer;
    };
    const sends = sending(senders, pick);
    await pause(pick, 60);
    const moved = await old.moving.move(session, to.bus.self);
    await sends;
    await workers.quiet();
    expect(moved).toBe(lost === MOVE.done);
    expect(workers.holders(FULL)).toEqual([moved ? to : old]);
    const [holder] = workers.holders(FULL) as [TestWorker];
    expect(workers.rows.get(FULL)?.worker).toBe(holder.bus.self);
    client.finish(holder.context.registry.full(FULL)!);
    for (const sender of senders) {
      for (const form of ['full', 'bare']) {
        const got = client.of(form, sender.name);
        // On the way back some find it at neither.
        if (!moved) got.push(...sender.errors(form));
        expect(moved ? got : got.sort((a, b) => a - b), `${form} ${sender.name}`).toEqual(ALL);
      }
      for (const node of NODES) expect(client.items(node, sender.name), `${node} ${sender.name}`).toEqual(ALL);
    }
  },
);
