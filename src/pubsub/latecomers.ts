import type { Jid } from '../jid/jid.js';
import type { Engine } from './engine.js';
import { freshId } from './ids.js';
import type { Reader } from './interest.js';
import type { Published } from './last-items.js';
import type { NodeState, Policy } from './node.js';
import { Refusal } from './refusals.js';
import { delayedItemBody } from './wire.js';

/** So young, in milliseconds, an item may be kept already while its notification is not on its way yet. Clocks may be as far apart. */
const YOUNG = 30_000;

/** Nodes whose last items are looked for at the same time, for one session. */
const SLICE = 64;

/** Of what was read, nothing will still be notified when this resolves: it has been, or was before. */
async function notified(engine: Engine, items: ReadonlyMap<string, Published>): Promise<void> {
  const since = Date.now() - YOUNG;
  const young = [...items].filter(([, { published }]) => published > since).map(([name]) => name);
  if (young.length > 0) await Promise.all([engine.departed(young), engine.cluster.departed(young)]);
}

function bodyOf({ host }: Engine, node: NodeState, item: Published, { payloads, namesPublisher }: Policy): Buffer {
  return delayedItemBody(host, node, freshId(), item, { payload: payloads, publisher: namesPublisher });
}

/** Sends the last item to a new subscriber, behind the result that tells of the subscription (XEP-0060 §6.1.7). */
export function lastToSubscriber(engine: Engine, name: string, jid: Jid): void {
  const node = engine.nodes.ensure(name);
  const { activity } = node;
  setImmediate(() =>
    engine.task(async () => {
      const known = await engine.node(name);
      if (known instanceof Refusal) return engine.nodes.release(node);
      const { policy } = known.facts;
      if (policy.config.send_last_published_item === 'never' || !policy.delivers) return;
      const items = await engine.lastItems.of([known]);
      await notified(engine, items);
      const item = items.get(name);
      // Somebody has published meanwhile: the subscriber has got something newer. Or the node has gone.
      if (item === undefined || node.activity !== activity || engine.nodes.peek(name) !== node) return;
      engine.fanout.direct(jid, policy.type, bodyOf(engine, node, item, policy));
    }),
  );
}

/** Sends the last items of the nodes that want it to a session that has come online (XEP-0060 §4.3). */
export async function lastToSession(engine: Engine, reader: Reader, names: readonly string[]): Promise<void> {
  const wanted: { node: NodeState; activity: number }[] = [];
  await Promise.all(
    names.map(async (name) => {
      const { activity } = engine.nodes.peek(name) ?? {};
      const node = await engine.nodes.load(name);
      const policy = node?.facts?.policy;
      if (policy?.config.send_last_published_item !== 'on_sub_and_presence' || !policy.delivers) return;
      wanted.push({ node: node!, activity: activity ?? node!.activity });
    }),
  );
  if (wanted.length === 0) return;
  // A few at a time: there may be thousands, and each may be large.
  for (let at = 0; at < wanted.length && !reader.closed; at += SLICE) {
    const slice = wanted.slice(at, at + SLICE);
    const items = await engine.lastItems.of(slice.map(({ node }) => node));
    await notified(engine, items);
    for (const { node, activity } of slice) {
      const item = items.get(node.name);
      const recipient = reader.recipients.get(node.name);
      if (item === undefined || recipient === undefined || node.facts === undefined || node.activity !== activity)
        continue;
      const { policy } = node.facts;
      engine.fanout.one(recipient, policy.type, bodyOf(engine, node, item, policy));
    }
  }
}
