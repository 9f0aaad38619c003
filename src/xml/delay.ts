import { escapeAttr } from './escape.js';

export const NS_DELAY = 'urn:xmpp:delay';

/** XEP-0203 §2: `from` delivers later what happened then, in milliseconds since the epoch. */
export function delay(from: string, happened: number): string {
  return `<delay xmlns='${NS_DELAY}' from='${escapeAttr(from)}' stamp='${new Date(happened).toISOString()}'/>`;
}

/** A whole message with one more child at its end. */
export function withChild(message: Buffer, child: string): Buffer {
  const empty = message.at(-2) === 0x2f; // `/>`
  const end = empty ? message.length - 2 : message.lastIndexOf('</');
  const [before, behind] = empty ? ['>', '</message>'] : ['', message.subarray(end)];
  return Buffer.concat([message.subarray(0, end), Buffer.from(before + child), Buffer.from(behind)]);
}
