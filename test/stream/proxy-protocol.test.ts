import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { describe, expect, test } from 'vitest';
import { readNetworks } from '../../src/config/networks.js';
import { ProxyHeader } from '../../src/stream/proxy-header.js';
import { header, INET, INET6, LOCAL, PROXY, proxied, random, UNIX, UNSPEC } from '../support/proxy.js';

/** Reads all at once. */
function read(bytes: Buffer) {
  const reader = new ProxyHeader();
  const taken = reader.read(bytes);
  return { reader, taken };
}

/** What a reader came to. */
const facts = ({ done, fault, address, local }: ProxyHeader) => ({ done, fault, address, local });

const REST = Buffer.from("<?xml version='1.0'?>");
const GOOD: [string, Buffer, string | undefined][] = [
  ['TCP over IPv4', proxied('192.0.2.1'), '192.0.2.1'],
  ['TCP over IPv6', proxied('2001:db8::1'), '2001:db8::1'],
  ['IPv4 in its IPv6 form', proxied('::ffff:192.0.2.1'), '192.0.2.1'],
  ['vectors behind the address', proxied('192.0.2.1', Buffer.from([4, 0, 3, 1, 2, 3])), '192.0.2.1'],
  ['the longest that there is', proxied('2001:db8::1', Buffer.alloc(65535 - 36)), '2001:db8::1'],
  ['LOCAL without addresses', header(LOCAL, UNSPEC, Buffer.alloc(0)), undefined],
  ['LOCAL with addresses', header(LOCAL, INET, Buffer.alloc(12, 7)), undefined],
  ['LOCAL of a family that is none', header(LOCAL, 0xff, Buffer.alloc(3)), undefined],
  ['an unspecified family', header(PROXY, UNSPEC, Buffer.alloc(0)), undefined],
  ['an unspecified family with something behind it', header(PROXY, UNSPEC, Buffer.alloc(99, 1)), undefined],
  ['UNIX', header(PROXY, UNIX, Buffer.alloc(216)), undefined],
  ['UDP, which is not how it came', header(PROXY, 0x12, Buffer.alloc(12, 1)), undefined],
];

describe('a PROXY protocol header', () => {
  test.each(GOOD)('%s', (_, bytes, address) => {
    const { reader, taken } = read(Buffer.concat([bytes, REST]));
    expect(facts(reader)).toEqual({ done: true, fault: undefined, address, local: (bytes[12]! & 1) === 0 });
    expect(taken).toBe(bytes.length);
  });

  test.each(GOOD.filter(([, { length }]) => length < 1000))('%s, split anywhere', (_, bytes) => {
    const whole = facts(read(bytes).reader);
    for (let at = 0; at <= bytes.length; at++) {
      const reader = new ProxyHeader();
      expect(reader.read(bytes.subarray(0, at))).toBe(at);
      expect(reader.done).toBe(at === bytes.length);
      expect(reader.read(Buffer.concat([bytes.subarray(at), REST]))).toBe(bytes.length - at);
      expect(facts(reader)).toEqual(whole);
    }
    const reader = new ProxyHeader();
    for (const byte of bytes) reader.read(Buffer.of(byte));
    expect(facts(reader)).toEqual(whole);
  });

  const BAD: [string, Buffer, string][] = [
    ['no header', Buffer.from("<?xml version='1.0'?><stream:stream"), 'proxy_missing'],
    ['a TLS handshake', Buffer.from([0x16, 3, 1, 2, 0, 1]), 'proxy_missing'],
    ['white space before XML', Buffer.from('\r\n\r\n<?xml'), 'proxy_missing'],
    ['the last byte of the signature', Buffer.from('\r\n\r\n\0\r\nQUIT\r', 'latin1'), 'proxy_missing'],
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n'), 'proxy_version_1'],
    ['version 3', edited(proxied('192.0.2.1'), 12, 0x31), 'proxy_invalid'],
    ['a command that is none', edited(proxied('192.0.2.1'), 12, 0x22), 'proxy_invalid'],
    ['a family that is none', header(PROXY, 0x41, Buffer.alloc(200)), 'proxy_invalid'],
    ['a protocol that is none', header(PROXY, 0x13, Buffer.alloc(200)), 'proxy_invalid'],
    ['too short for IPv4', header(PROXY, INET, Buffer.alloc(11)), 'proxy_invalid'],
    ['too short for IPv6', header(PROXY, INET6, Buffer.alloc(35)), 'proxy_invalid'],
  ];
  test.each(BAD)('%s is none', (_, bytes, fault) => {
    expect(facts(read(bytes).reader)).toMatchObject({ done: false, fault, address: undefined });
    const reader = new ProxyHeader();
    for (const byte of bytes) reader.read(Buffer.of(byte));
    expect(facts(reader)).toMatchObject({ done: false, fault, address: undefined });
    expect(reader.read(proxied('192.0.2.1'))).toBe(0);
  });

  function edited(bytes: Buffer, at: number, value: number): Buffer {
    bytes[at] = value;
    return bytes;
  }

  test('writes addresses of IPv6 as the system does', () => {
    const next = random(1);
    for (let i = 0; i < 3000; i++) {
      const groups = Array.from({ length: 8 }, () => (next(3) === 0 ? next(0x10000) : next(2) === 0 ? 0 : next(16)));
      const text = groups.map((group) => group.toString(16)).join(':');
      expect(read(proxied(text)).reader.address).toBe(canonical(text));
    }
  });

  function canonical(text: string): string {
    const { address } = new SocketAddress({ address: text, family: 'ipv6' });
    // inet_ntop shows some with dotted quads (RFC 5952 §5), which only means something where the prefix is known.
    const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
    if (dotted === null) return address;
    if (dotted[1]!.toLowerCase() === '::ffff:') return address.slice('::ffff:'.length);
    const [a, b, c, d] = dotted.slice(2).map(Number) as [number, number, number, number];
    return `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }

  test('whatever comes, in whatever pieces: one outcome, and never more taken than there is', () => {
    const next = random(2);
    const seeds = GOOD.map(([, bytes]) => bytes).concat(BAD.map(([, bytes]) => bytes));
    for (let round = 0; round < 20_000; round++) {
      const bytes = Buffer.from(seeds[next(seeds.length)]!.subarray(0, 400));
      for (let edits = next(4); edits > 0; edits--) bytes[next(Math.min(bytes.length, 20))] = next(256);
      const whole = read(bytes);
      expect(whole.taken).toBeLessThanOrEqual(bytes.length);
      const { done, fault, address } = whole.reader;
      expect(done && fault !== undefined).toBe(false);
      if (address !== undefined) expect(isIPv4(address) || isIPv6(address)).toBe(true);
      const reader = new ProxyHeader();
      let taken = 0;
      for (let at = 0; at < bytes.length && !reader.done && reader.fault === undefined;) {
        const part = bytes.subarray(at, at + 1 + next(30));
        taken += reader.read(part);
        at += part.length;
      }
      expect(facts(reader)).toEqual(facts(whole.reader));
      // How much of a bad one is looked at depends on the pieces.
      if (done) expect(taken).toBe(whole.taken);
    }
  });
});

describe('the load balancers that are trusted (proxy_protocol.trusted)', () => {
  test('are addresses and networks, and an IPv4 address is the same in its IPv6 form', () => {
    const networks = readNetworks(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', '::ffff:198.51.100.0/120', '::1']);
    expect(networks.faulty).toEqual([]);
    const inside = ['10.1.2.3', '::ffff:10.1.2.3', '192.0.2.7', '2001:db8:1::', '198.51.100.9', '::ffff:198.51.100.9'];
    for (const address of [...inside, '::1']) expect([address, networks.has(address)]).toEqual([address, true]);
    for (const address of ['11.0.0.1', '192.0.2.8', '::2', '2001:db9::', '198.51.101.1', '', 'x', '::ffff:11.0.0.1'])
      expect([address, networks.has(address)]).toEqual([address, false]);
    expect(readNetworks(['0.0.0.0/0']).has('203.0.113.1')).toBe(true);
    expect(readNetworks(['::/0']).has('2001:db8::1')).toBe(true);
    expect(readNetworks([]).has('127.0.0.1')).toBe(false);
  });

  test.each(['', 'lb', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/8/8', '10.0.0/8', '::1/129', '10.0.0.0/-1', '10.0.0.0/x'])(
    '%o is neither',
    (entry) => expect(readNetworks([entry, '::1']).faulty).toEqual([entry]),
  );
});
