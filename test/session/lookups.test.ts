import { beforeEach, describe, expect, test } from 'vitest';
import { CHANNEL, type BusListener } from '../../src/cluster/bus.js';
import { UNKNOWN, type Entries } from '../../src/cluster/directory.js';
import { parseJid, type Jid } from '../../src/jid/jid.js';
import { counters } from '../../src/metrics/counters.js';
import { Registry } from '../../src/session/registry.js';
import { Router } from '../../src/session/router.js';
import type { Session } from '../../src/session/session.js';
import { Shared } from '../../src/stream/outbox.js';
import { el } from '../../src/xml/element.js';
import { TYPE } from '../../src/xml/envelope.js';
import { TreeBuilder } from '../../src/xml/tree.js';

/** A directory whose answers the test gives: what is known at once, and who waits for what. */
class Book {
  known = new Map<string, Entries>();
  asked: { bare: string; answer: (entries: Entries) => void }[] = [];

  remote(bare: string): Entries | Promise<Entries> {
    const known = this.known.get(bare);
    if (known !== undefined) return known;
    return new Promise((resolve) =>
      this.asked.push({
        bare,
        answer: (entries) => {
          if (entries !== UNKNOWN) this.known.set(bare, entries);
          resolve(entries);
        },
      }),
    );
  }
}

let book: Book;
let registry: Registry;
let router: Router;
/** What went where, in order: to sessions here, and to other workers. */
let log: string[];
let fromWorkers: BusListener;

beforeEach(async () => {
  book = new Book();
  registry = new Registry();
  log = [];
  const tree = await TreeBuilder.create();
  router = new Router({
    config: { domain: 'x' },
    registry,
    directory: book,
    tree,
    jids: { get: (text: string) => parseJid(text) },
    bus: {
      listen: (channel: number, listener: BusListener) => {
        if (channel === CHANNEL.stanza) fromWorkers = listener;
      },
      onUndelivered: () => undefined,
      send: (worker: number, _channel: number, _length: Buffer, _header: Buffer, stanza: Buffer) =>
        log.push(`${worker}: ${idOf(stanza)}`),
    },
  } as never);
});

const jid = (text: string): Jid => parseJid(text)!;
const idOf = (stanza: Buffer): string => /id='([^']*)'/.exec(String(stanza))?.[1] ?? String(stanza);
const message = (id: string, to: string): Shared =>
  new Shared(Buffer.from(`<message id='${id}' to='${to}' from='s@x/1' type='chat'/>`));
const send = (id: string, to: string) => router.message(jid(to), TYPE.chat, message(id, to), 's@x/1');
const elsewhere = (bare: string, resource = 'r'): Entries => [
  { bare, resource, worker: 2, id: '2.a', available: true, priority: 0 },
];

function here(full: string): void {
  const session = { jid: jid(full), available: true, priority: 0, directed: undefined };
  const deliver = (_head: unknown, { bytes }: Shared) => log.push(`${full}: ${idOf(bytes)}`);
  registry.add({ ...session, deliver } as unknown as Session);
}

/** As another worker sends it. */
function receive(id: string, to: string): void {
  const header = Buffer.from(JSON.stringify({ to, kind: 'message', from: 's@x/1', type: TYPE.chat }));
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16LE(header.length);
  fromWorkers(3, Buffer.concat([length, header, message(id, to).bytes]));
}

describe('where the sessions elsewhere are known', () => {
  test('nothing waits', () => {
    book.known.set('a@x', elsewhere('a@x'));
    expect(send('1', 'a@x')).toBe(undefined);
    expect(log).toEqual(['2: 1']);
  });

  test('a resource at this worker is found without asking', () => {
    here('a@x/home');
    expect(send('1', 'a@x/home')).toBe(undefined);
    expect(log).toEqual(['a@x/home: 1']);
    expect(book.asked).toEqual([]);
  });
});

describe('while sessions elsewhere are being looked up', () => {
  test('what comes for the same JID waits behind, whoever sends it, and what is for others does not', async () => {
    here('a@x/home');
    here('b@x/home');
    book.known.set('b@x', []);
    const first = send('1', 'a@x');
    expect(first).toBeInstanceOf(Promise);
    const others = [send('2', 'a@x/home'), send('4', 'a@x')];
    receive('5', 'a@x/home');
    router.deliver(jid('a@x'), el('message', 'jabber:client', { id: '6', type: 'chat' }));
    expect(send('other', 'b@x')).toBe(undefined);
    receive('another', 'b@x/home');
    expect(log).toEqual(['b@x/home: other', 'b@x/home: another']);
    log.length = 0;
    book.asked[0]!.answer([]);
    await Promise.all([first, ...others]);
    await expect.poll(() => log.length).toBe(5);
    expect(log.map((line) => line.slice(-1))).toEqual(['1', '2', '4', '5', '6']);
    expect(send('7', 'a@x/home')).toBe(undefined);
    expect(book.asked).toHaveLength(1);
  });

  test('the order holds where answers are not remembered and every stanza has to ask', async () => {
    const remember = book.known;
    book.known = { get: () => undefined, set: () => undefined } as never;
    const sent = Array.from({ length: 50 }, (_, i) => send(String(i), 'a@x'));
    for (let i = 0; i < 50; i++) {
      await expect.poll(() => book.asked.length).toBe(i + 1);
      book.asked[i]!.answer(elsewhere('a@x'));
    }
    expect(await Promise.all(sent)).toEqual(Array(50).fill(undefined));
    expect(log).toEqual(Array.from({ length: 50 }, (_, i) => `2: ${i}`));
    book.known = remember;
  });

  test('what the server makes is bounded, and the rest of it counted', async () => {
    const before = counters.drops['lookups_full'] ?? 0;
    for (let i = 0; i < 10_050; i++) {
      router.deliver(jid('a@x'), el('message', 'jabber:client', { id: String(i), type: 'chat' }));
    }
    expect((counters.drops['lookups_full'] ?? 0) - before).toBe(50);
    book.asked[0]!.answer(elsewhere('a@x'));
    await expect.poll(() => log.length).toBe(10_000);
    expect(send('last', 'a@x')).toBe(undefined);
    expect(log.at(-1)).toBe('2: last');
  });
});

describe('when they cannot be looked up', () => {
  const wait = { condition: 'internal-server-error', type: 'wait' };

  test('what this worker has gets it; what it has not is to be tried again later', async () => {
    here('a@x/home');
    const sent = [send('1', 'a@x'), send('2', 'b@x'), send('3', 'c@x/r')];
    const asked = router.iq(jid('d@x/r'), true, message('4', 'd@x/r'), jid('s@x/1'), '4');
    const told = router.iq(jid('e@x/r'), false, message('5', 'e@x/r'), jid('s@x/1'), '5');
    for (const { answer } of book.asked) answer(UNKNOWN);
    expect(await Promise.all(sent)).toMatchObject([undefined, wait, wait]);
    expect(await asked).toMatchObject(wait);
    expect(await told).toBe(undefined);
    expect(log).toEqual(['a@x/home: 1']);
  });

  test('presence goes to those who are known', async () => {
    here('a@x/home');
    const told = router.presence(jid('a@x'), new Shared(Buffer.from("<presence id='1'/>")));
    book.asked[0]!.answer(UNKNOWN);
    await told;
    expect(log).toEqual(['a@x/home: 1']);
  });
});
