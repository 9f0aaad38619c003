import type { Element } from '../../xml/element.js';
import type { Actor, Engine } from '../engine.js';
import { readBoolean } from '../options.js';
import { Refusal } from '../refusals.js';
import { decide } from '../subscribers.js';
import { readOptions } from './forms.js';
import { NS_AUTHORIZATION } from './namespaces.js';

/** A message to the service: an owner's answer to a subscription request (XEP-0060 §8.6), or nothing that it understands. */
export async function answered(engine: Engine, actor: Actor, message: Element): Promise<Refusal | undefined> {
  const form = readOptions(message, NS_AUTHORIZATION);
  if (form === undefined) return new Refusal('no-message');
  if (form === 'malformed') return new Refusal('bad-request');
  // Cancelled: the request stays pending.
  if (form.type === 'cancel') return undefined;
  const first = (name: string): string | undefined => form.values.get(name)?.[0];
  const node = first('node');
  const allow = readBoolean(form.values.get('allow') ?? []);
  if (node === undefined || allow === undefined) return new Refusal('bad-request');
  return decide(engine, actor, { node, jid: first('subscriber_jid'), subid: first('subid') }, allow);
}
