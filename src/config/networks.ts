import { BlockList, isIP } from 'node:net';

/** A set of addresses; an IPv4 address is found in its IPv6 form (RFC 4291 §2.5.5.2), too. */
export interface Networks {
  has(address: string): boolean;
}

const BITS = { 4: 32, 6: 128 } as const;
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
/** Bits of the prefix of addresses in their IPv6 form. */
const MAPPED_BITS = 96;

/** Reads addresses and networks (`10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`); the bad ones are left out, for `faulty` to name. */
export function readNetworks(entries: readonly string[]): Networks & { readonly faulty: readonly string[] } {
  const list = new BlockList();
  const faulty = entries.filter((entry) => !add(list, entry));
  return {
    faulty,
    has: (address) => {
      const family = isIP(address);
      return family !== 0 && list.check(address, family === 4 ? 'ipv4' : 'ipv6');
    },
  };
}

function add(list: BlockList, entry: string): boolean {
  const [address = '', written, more] = entry.split('/');
  const family = isIP(address);
  if (more !== undefined || (family !== 4 && family !== 6)) return false;
  if (written !== undefined && !/^\d{1,3}$/.test(written)) return false;
  const bits = written === undefined ? BITS[family] : Number(written);
  if (bits > BITS[family]) return false;
  const mapped = MAPPED.exec(address)?.[1];
  if (mapped !== undefined && bits >= MAPPED_BITS) list.addSubnet(mapped, bits - MAPPED_BITS, 'ipv4');
  else list.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6');
  return true;
}
