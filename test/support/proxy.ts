import { isIPv4, isIPv6 } from 'node:net';

/** Headers of the PROXY protocol, version 2, made by hand. */

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
export const LOCAL = 0;
export const PROXY = 1;
export const UNSPEC = 0x00;
export const INET = 0x11;
export const INET6 = 0x21;
export const UNIX = 0x31;

export function header(command: number, family: number, body: Buffer): Buffer {
  const fixed = Buffer.from([0x20 | command, family, 0, 0]);
  fixed.writeUInt16BE(body.length, 2);
  return Buffer.concat([SIGNATURE, fixed, body]);
}

/** As for a client at that address. */
export function proxied(client: string, vectors: Buffer = Buffer.alloc(0)): Buffer {
  const ports = Buffer.from([0x9c, 0x40, 0x14, 0x66]);
  if (isIPv4(client)) {
    const body = [Buffer.from(client.split('.').map(Number)), Buffer.from([198, 51, 100, 1]), ports, vectors];
    return header(PROXY, INET, Buffer.concat(body));
  }
  if (!isIPv6(client)) throw new Error(`${client} is no address`);
  return header(PROXY, INET6, Buffer.concat([bytesOf(client), bytesOf('2001:db8::ffff'), ports, vectors]));
}

function bytesOf(address: string): Buffer {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  if (dotted !== null)
    return Buffer.concat([bytesOf(`${dotted[1]}0:0`).subarray(0, 12), Buffer.from(dotted.slice(2).map(Number))]);
  const [head = '', tail] = address.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const [before, after] = [groups(head), groups(tail ?? '')];
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  const bytes = Buffer.alloc(16);
  all.forEach((group, i) => bytes.writeUInt16BE(group, 2 * i));
  return bytes;
}

/** Numbers below `limit`, the same in every run (mulberry32). */
export function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}
