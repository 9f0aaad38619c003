import { delay } from '../xml/delay.js';
import { escapeAttr } from '../xml/escape.js';
import type { NodeState } from './node.js';

/**
 * Notifications as bytes. A stanza is a head of the recipient's own, `<message from= to= type=`, and a body that is
 * the same for all: the message's id, `>`, the event, `</message>`.
 */

export const NS_PUBSUB = 'http://jabber.org/protocol/pubsub';
export const NS_EVENT = 'http://jabber.org/protocol/pubsub#event';

const ID = Buffer.from(" id='");
const PUBLISHER = Buffer.from("' publisher='");
const ITEM_OPEN = Buffer.from("'>");
const ITEM_EMPTY = Buffer.from("'/></items></event></message>");
const ITEM_CLOSE = Buffer.from('</item></items></event></message>');

/** The opening of a message, without its end, so that the body can bring the id. */
export function messageHead(host: string, to: string, type: string): Buffer {
  return Buffer.from(`<message from='${escapeAttr(host)}' to='${escapeAttr(to)}' type='${type}'`);
}

/** Writes ASCII quickly and anything else correctly; returns the place behind. */
function put(target: Buffer, at: number, text: string): number {
  const { length } = text;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return at + target.write(text, at, 'utf8');
    target[at + i] = code;
  }
  return at + length;
}

function prefixOf(node: NodeState): Buffer {
  return (node.prefix ??= Buffer.from(
    `'><event xmlns='${NS_EVENT}'><items node='${escapeAttr(node.name)}'><item id='`,
  ));
}

/**
 * The body of an item's notification (XEP-0060 §7.1.2.1, §7.1.2.2). The payload is copied as it is, the rest must be escaped.
 * `publisher` is shown where it is given (§7.1.2.3).
 */
export function itemBody(
  node: NodeState,
  messageId: string,
  itemId: string,
  publisher: string | undefined,
  payload: Uint8Array | undefined,
): Buffer {
  const prefix = prefixOf(node);
  const end = payload === undefined ? ITEM_EMPTY : ITEM_CLOSE;
  let size = ID.length + messageId.length + prefix.length + Buffer.byteLength(itemId) + end.length;
  if (payload !== undefined) size += ITEM_OPEN.length + payload.length;
  if (publisher !== undefined) size += PUBLISHER.length + Buffer.byteLength(publisher);
  const body = Buffer.allocUnsafe(size);
  body.set(ID, 0);
  let at = put(body, ID.length, messageId);
  body.set(prefix, at);
  at = put(body, at + prefix.length, itemId);
  if (publisher !== undefined) {
    body.set(PUBLISHER, at);
    at = put(body, at + PUBLISHER.length, publisher);
  }
  if (payload !== undefined) {
    body.set(ITEM_OPEN, at);
    at += ITEM_OPEN.length;
    body.set(payload, at);
    at += payload.length;
  }
  body.set(end, at);
  return body;
}

/** The body of any other notification: `event` is the content of `<event/>`. */
export function eventBody(messageId: string, event: string): Buffer {
  return Buffer.from(` id='${messageId}'><event xmlns='${NS_EVENT}'>${event}</event></message>`);
}

/** The body of an item's notification that the service, `host`, sends later than it was published. */
export function delayedItemBody(
  host: string,
  node: NodeState,
  messageId: string,
  item: { id: string; publisher: string; published: number; payload: Uint8Array },
  shown: { payload: boolean; publisher: boolean },
): Buffer {
  const publisher = shown.publisher ? escapeAttr(item.publisher) : undefined;
  const payload = shown.payload && item.payload.length > 0 ? item.payload : undefined;
  const body = itemBody(node, messageId, escapeAttr(item.id), publisher, payload);
  const end = '</message>'.length;
  return Buffer.concat([
    body.subarray(0, body.length - end),
    Buffer.from(delay(host, item.published)),
    body.subarray(body.length - end),
  ]);
}

/** What follows a publish result's id (XEP-0060 §7.1.2), up to the item's. */
export function resultMiddle(node: NodeState): string {
  return `'><pubsub xmlns='${NS_PUBSUB}'><publish node='${escapeAttr(node.name)}'><item id='`;
}
export const RESULT_END = "'/></publish></pubsub></iq>";
