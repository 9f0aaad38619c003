/**
 * The header that a load balancer puts in front of a connection: PROXY protocol, version 2 (HAProxy's proxy-protocol.txt §2.2).
 * What it says beside the client's address (the type-length-value vectors of §2.2.1 and later) is skipped.
 */

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Signature, version and command, family and protocol, length. */
const FIXED = 16;
const INET_BYTES = 12;
const INET6_BYTES = 36;
/** What is kept of a header: as far as an IPv6 address needs. */
const KEPT = FIXED + INET6_BYTES;

const VERSION_2 = 0x20;
const LOCAL = 0x0;
const PROXY = 0x1;
/** UNSPEC, INET, INET6, UNIX. */
const FAMILIES = 4;
/** UNSPEC, STREAM, DGRAM. */
const PROTOCOLS = 3;
const TCP4 = 0x11;
const TCP6 = 0x21;
/** `PROXY TCP4 …`: the human-readable version 1 (§2.1). */
const VERSION_1_FIRST = 'P'.charCodeAt(0);

/** Why a header is none, as `thrum_drops_total` counts it. */
export type ProxyFault = 'proxy_missing' | 'proxy_version_1' | 'proxy_invalid';

/** Reads one header from however many pieces it comes in; keeps at most the addresses of it. */
export class ProxyHeader {
  /** All of it has been read. */
  done = false;
  fault: ProxyFault | undefined;
  /** The client's address; undefined where the header names none (LOCAL, UNSPEC, UNIX), and the connection's own holds. */
  address: string | undefined;
  /** The load balancer's own connection, such as a health check. */
  local = false;
  private readonly kept = Buffer.alloc(KEPT);
  private length = 0;
  private total = FIXED;

  /** Takes what belongs to the header, and returns how many bytes that is; `done` or `fault` say whether it was the last. */
  read(chunk: Uint8Array): number {
    let taken = 0;
    while (taken < chunk.length && !this.done && this.fault === undefined) {
      const room = (this.length < FIXED ? FIXED : this.total) - this.length;
      const part = chunk.subarray(taken, taken + room);
      if (this.length < KEPT) this.kept.set(part.subarray(0, KEPT - this.length), this.length);
      this.length += part.length;
      taken += part.length;
      this.look();
    }
    return taken;
  }

  /** Some of it has come. */
  get begun(): boolean {
    return this.length > 0;
  }

  private look(): void {
    const signed = Math.min(this.length, SIGNATURE.length);
    if (this.kept.compare(SIGNATURE, 0, signed, 0, signed) !== 0) {
      this.fault = this.kept[0] === VERSION_1_FIRST ? 'proxy_version_1' : 'proxy_missing';
      return;
    }
    if (this.length === FIXED) this.fixed();
    if (this.fault !== undefined || this.length < this.total || this.length < FIXED) return;
    this.done = true;
    if (this.local) return;
    if (this.kept[13] === TCP4) this.address = ipv4(this.kept, FIXED);
    else if (this.kept[13] === TCP6) this.address = ipv6(this.kept, FIXED);
  }

  private fixed(): void {
    const version = this.kept[12]! & 0xf0;
    const command = this.kept[12]! & 0x0f;
    const transport = this.kept[13]!;
    const length = this.kept.readUInt16BE(14);
    this.total = FIXED + length;
    this.local = command === LOCAL;
    if (version !== VERSION_2 || (command !== LOCAL && command !== PROXY)) this.fault = 'proxy_invalid';
    // What LOCAL says of addresses is not to be looked at.
    else if (this.local) return;
    else if (transport >> 4 >= FAMILIES || (transport & 0x0f) >= PROTOCOLS) this.fault = 'proxy_invalid';
    else if (length < (transport === TCP4 ? INET_BYTES : transport === TCP6 ? INET6_BYTES : 0)) {
      this.fault = 'proxy_invalid';
    }
  }
}

/** An address as it is written: of 4 bytes or 16. */
export function addressText(bytes: Buffer): string {
  return bytes.length === 4 ? ipv4(bytes, 0) : ipv6(bytes, 0);
}

function ipv4(bytes: Buffer, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** As RFC 5952 §4 writes it, so that an address has one name; one of IPv4 in its IPv6 form is that of IPv4. */
function ipv6(bytes: Buffer, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(at + 2 * i));
  if (groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)) return ipv4(bytes, at + 12);
  let [start, longest] = [-1, 1];
  for (let i = 0; i < groups.length; i++) {
    let end = i;
    while (groups[end] === 0) end++;
    if (end - i > longest) [start, longest] = [i, end - i];
    i = Math.max(i, end);
  }
  const text = (from: number, to?: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  return start < 0 ? text(0) : `${text(0, start)}::${text(start + longest)}`;
}
