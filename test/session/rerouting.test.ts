import { beforeEach, describe, expect, test } from 'vitest';
import { CHANNEL, type UndeliveredListener } from '../../src/cluster/bus.js';
import type { SessionEntry } from '../../src/cluster/directory.js';
import { parseJid, type Jid } from '../../src/jid/jid.js';
import { counters } from '../../src/metrics/counters.js';
import { Registry } from '../../src/session/registry.js';
import { Router } from '../../src/session/router.js';
import type { Session } from '../../src/session/session.js';
import { Shared } from '../../src/stream/outbox.js';
import { TYPE } from '../../src/xml/envelope.js';
import { TreeBuilder } from '../../src/xml/tree.js';

const jid = (text: string): Jid => parseJid(text)!;

let registry: Registry;
let router: Router;
let elsewhere: SessionEntry[];
/** What went to sessions here, and the last of it. */
let here: string[];
let last: Shared;
/** Frames to other workers. */
let sent: { worker: number; frame: Buffer }[];
let comesBack: UndeliveredListener;

beforeEach(async () => {
  registry = new Registry();
  elsewhere = [];
  here = [];
  sent = [];
  router = new Router({
    config: { domain: 'x' },
    registry,
    directory: { remote: (bare: string) => elsewhere.filter((entry) => entry.bare === bare) },
    tree: await TreeBuilder.create(),
    jids: { get: (text: string) => parseJid(text) },
    bus: {
      listen: () => undefined,
      onUndelivered: (channel: number, listener: UndeliveredListener) => {
        if (channel === CHANNEL.stanza) comesBack = listener;
      },
      send: (worker: number, _channel: number, ...parts: Buffer[]) =>
        sent.push({ worker, frame: Buffer.concat(parts) }),
    },
  } as never);
  session('s@x/1');
});

function session(full: string, id = full): void {
  const deliver = (_head: unknown, shared: Shared) => {
    here.push(`${full} ${shared.bytes}`);
    last = shared;
  };
  registry.add({ jid: jid(full), id, available: true, priority: 0, deliver } as unknown as Session);
}

/** That session here has ended, and had not acknowledged this. */
function ended(full: string, ...shared: Shared[]): void {
  registry.remove(registry.full(full)!);
  router.reroute(jid(full), shared);
}

function at(worker: number, resource: string, priority = 0): void {
  elsewhere.push({ bare: 'a@x', resource, worker, id: `${worker}.${resource}`, available: true, priority });
}

/** That worker is gone. */
function lost(worker: number): void {
  elsewhere = elsewhere.filter((entry) => entry.worker !== worker);
}

/** What was sent to that worker comes back. */
function back(worker: number, lives = false): void {
  const frames = sent.filter((one) => one.worker === worker);
  sent = [];
  for (const { frame } of frames) comesBack(worker, frame, lives);
}

function message(to: string, kind: keyof typeof TYPE = 'chat'): void {
  const bytes = Buffer.from(`<message id='m' to='${to}' from='s@x/1' type='${kind}'/>`);
  expect(router.message(jid(to), TYPE[kind], new Shared(bytes), 's@x/1')).toBe(undefined);
}

const workers = (): number[] => sent.map(({ worker }) => worker);
const errors = (): string[] => here.filter((line) => line.includes("type='error'"));

describe('a message for the account', () => {
  test('goes to the next resource, and to its sender when there is none', () => {
    at(2, 'high', 1);
    at(3, 'low');
    message('a@x');
    expect(workers()).toEqual([2]);
    lost(2);
    back(2);
    expect(workers()).toEqual([3]);
    lost(3);
    back(3);
    expect(errors()).toEqual([expect.stringMatching(/^s@x\/1 <message type='error' id='m' from='a@x'.*service-unav/)]);
  });

  test('is not doubled where several got it: only when all are gone it goes on, once', () => {
    for (const worker of [2, 3, 4]) at(worker, `r${worker}`, 1);
    at(5, 'low');
    message('a@x');
    expect(workers()).toEqual([2, 3, 4]);
    const copies = [...sent];
    // One of them may be gone, whichever it is.
    for (const worker of [2, 3]) {
      lost(worker);
      back(worker);
      expect(workers()).toEqual([]);
      sent = [...copies];
    }
    lost(4);
    for (const worker of [2, 3, 4])
      for (const { frame } of copies.filter((one) => one.worker === worker)) comesBack(worker, frame, false);
    expect(sent.slice(copies.length).map(({ worker }) => worker)).toEqual([5]);
    expect(errors()).toEqual([]);
  });

  test('is not lost where those who got it go one after the other', () => {
    for (const worker of [2, 3]) at(worker, `r${worker}`, 1);
    at(5, 'low');
    message('a@x');
    const copies = sent;
    for (const worker of [2, 3]) {
      sent = copies.filter((one) => one.worker === worker);
      lost(worker);
      back(worker);
    }
    expect(workers()).toEqual([5]);
  });

  test('that a session here did not acknowledge is for others when none is left that got it, and for them once', () => {
    for (const full of ['a@x/1', 'a@x/2']) session(full);
    at(2, 'r2');
    at(5, 'low', -1);
    message('a@x');
    const unread = last;
    expect(here).toHaveLength(2);
    ended('a@x/1', unread);
    lost(2);
    back(2);
    expect([sent, here.length]).toEqual([[], 2]);
    // Another has the resource now.
    ended('a@x/2');
    session('a@x/2', 'heir');
    router.reroute(jid('a@x/1'), [unread]);
    expect(here.slice(2)).toEqual([expect.stringContaining('a@x/2 <message ')]);
    router.reroute(jid('a@x/2'), [unread]);
    expect(here).toHaveLength(3);
  });

  test('is for who has the resource of one that got it, and for nobody else who got it', () => {
    for (const full of ['a@x/1', 'a@x/2']) session(full);
    message('a@x');
    const unread = last;
    ended('a@x/1', unread);
    session('a@x/1', 'heir');
    router.reroute(jid('a@x/1'), [unread]);
    expect(here.slice(2)).toEqual([expect.stringContaining('a@x/1 <message ')]);
  });

  test("is nobody else's when a session here got it, too", () => {
    at(2, 'r2');
    at(3, 'low', -1);
    session('a@x/here');
    message('a@x');
    expect(workers()).toEqual([2]);
    lost(2);
    back(2);
    expect([sent, errors()]).toEqual([[], []]);
    expect(here).toHaveLength(1);
  });

  test("without an address is for the sender's own account", () => {
    elsewhere.push({ bare: 's@x', resource: '2', worker: 2, id: '2.2', available: true, priority: 5 });
    const bytes = Buffer.from(`<message id='m' from='s@x/1' type='normal'/>`);
    void router.message(jid('s@x'), TYPE.normal, new Shared(bytes), 's@x/1');
    elsewhere = [];
    back(2);
    expect(here).toEqual([expect.stringContaining("s@x/1 <message id='m'")]);
  });
});

describe('a stanza for a resource', () => {
  test.each([
    ['chat', [3], 0],
    ['normal', [], 1],
    ['groupchat', [], 1],
    ['headline', [], 0],
    ['error', [], 0],
  ] as const)('of type %s finds another way as RFC 6121 has it', (kind, others, returned) => {
    at(2, 'gone');
    at(3, 'there');
    message('a@x/gone', kind);
    lost(2);
    back(2);
    expect(workers()).toEqual(others);
    expect(errors()).toHaveLength(returned);
  });

  test('is a request: it is answered; an answer and presence are dropped, and counted', () => {
    at(2, 'gone');
    const before = counters.drops.undelivered ?? 0;
    const iq = (type: string): Shared => new Shared(Buffer.from(`<iq type='${type}' id='q' to='a@x/gone'/>`));
    void router.iq(jid('a@x/gone'), true, iq('get'), jid('s@x/1'), 'q');
    void router.iq(jid('a@x/gone'), false, iq('result'), jid('s@x/1'), 'q');
    void router.presence(jid('a@x/gone'), new Shared(Buffer.from('<presence/>')));
    lost(2);
    back(2);
    expect(here).toEqual([expect.stringMatching(/^s@x\/1 <iq type='error' id='q' from='a@x\/gone'.*service-unav/)]);
    expect(counters.drops.undelivered).toBe(before + 2);
  });

  test('comes back to be tried again when the worker is there and the way to it was interrupted', () => {
    at(2, 'r');
    at(3, 'other');
    message('a@x/r');
    message('a@x/r', 'headline');
    void router.iq(jid('a@x/r'), true, new Shared(Buffer.from(`<iq type='get' id='q'/>`)), jid('s@x/1'), 'q');
    back(2, true);
    expect(sent).toEqual([]);
    expect(errors()).toEqual([
      expect.stringMatching(/id='m'.*type='wait'.*internal-server-error/),
      expect.stringMatching(/id='q'.*type='wait'.*internal-server-error/),
    ]);
  });
});
