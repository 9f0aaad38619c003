import type { RedisArgument } from './redis.js';

/**
 * A command as the Redis protocol writes it: an array of bulk strings. Text where all of it is text, so that the socket
 * encodes it; else bytes.
 */
export function encode(name: string, args: readonly RedisArgument[]): string | Buffer {
  let text = `*${args.length + 1}\r\n$${name.length}\r\n${name}\r\n`;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (typeof arg === 'object') return encodeBytes(text, args, i);
    const part = typeof arg === 'string' ? arg : String(arg);
    text += `$${Buffer.byteLength(part)}\r\n${part}\r\n`;
  }
  return text;
}

/** Length of the header of a bulk string, and of the line that ends it: more than any needs. */
const FRAME = 16;

/** `text`, then the arguments from `first` on. */
function encodeBytes(text: string, args: readonly RedisArgument[], first: number): Buffer {
  let room = 3 * text.length;
  for (let i = first; i < args.length; i++) {
    const arg = args[i]!;
    room += FRAME + (typeof arg === 'number' ? 24 : typeof arg === 'string' ? 3 * arg.length : arg.length);
  }
  const bytes = Buffer.allocUnsafe(room);
  let at = bytes.write(text);
  for (let i = first; i < args.length; i++) {
    const arg = args[i]!;
    if (typeof arg === 'object') {
      at += bytes.write(`$${arg.length}\r\n`, at, 'latin1');
      bytes.set(arg, at);
      at += arg.length;
    } else {
      const part = typeof arg === 'string' ? arg : String(arg);
      at += bytes.write(`$${Buffer.byteLength(part)}\r\n`, at, 'latin1');
      at += bytes.write(part, at);
    }
    bytes[at++] = 13;
    bytes[at++] = 10;
  }
  return bytes.subarray(0, at);
}
