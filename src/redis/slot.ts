/** Redis Cluster divides keys into that many slots. */
export const SLOTS = 16384;

/** CRC-16/XMODEM, as the Redis Cluster specification wants it. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc & 0xffff;
});

const OPEN = 0x7b;
const CLOSE = 0x7d;
const scratch = Buffer.alloc(4096);

/** The slot of a key: of what stands between its first brace and the next closing one, if anything does. */
export function slotOf(key: string | Buffer): number {
  if (typeof key !== 'string') return hash(key, key.length);
  if (key.length * 3 <= scratch.length) return hash(scratch, scratch.write(key));
  const bytes = Buffer.from(key);
  return hash(bytes, bytes.length);
}

function hash(bytes: Buffer, length: number): number {
  let start = 0;
  let end = length;
  const open = bytes.indexOf(OPEN);
  if (open >= 0 && open < length) {
    const close = bytes.indexOf(CLOSE, open + 1);
    if (close > open + 1 && close < length) {
      start = open + 1;
      end = close;
    }
  }
  let crc = 0;
  for (let i = start; i < end; i++) crc = ((crc << 8) & 0xffff) ^ (TABLE[(crc >> 8) ^ bytes[i]!] as number);
  return crc % SLOTS;
}
