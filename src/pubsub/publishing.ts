import { count, counters } from '../metrics/counters.js';
import type { ItemRecord } from '../store/store.js';
import { flusher } from '../stream/flusher.js';
import { escapeAttr } from '../xml/escape.js';
import { CAPABILITIES } from './capability.js';
import { Departure } from './departures.js';
import type { Actor, Engine } from './engine.js';
import { freshId } from './ids.js';
import type { Endpoint, Reader } from './interest.js';
import { createNode, mayCreate } from './managing.js';
import type { NodeFacts, NodeState } from './node.js';
import { type Submitted, isNodeOption, meets } from './options.js';
import { Refusal, unsupported } from './refusals.js';
import { isActive } from './subscriptions.js';
import { RESULT_END, itemBody, resultMiddle } from './wire.js';
import { stanzaError } from './xml/errors.js';
import { happened, purged, retracted } from './xml/events.js';

/** The facts of a publish on the hot path; `payload` is a view that is valid only during the call. */
export interface HotPublish {
  /** The iq's id. */
  id: string;
  node: string;
  itemId: string | undefined;
  /** One payload element that uses no namespace binding from outside itself. */
  payload: Buffer;
}

export interface Publish {
  node: string;
  /** A payload is self-contained XML; `ns` is its root's namespace. */
  item: { id: string | undefined; payload: { bytes: Buffer; ns: string } | undefined } | undefined;
  /** Preconditions, by option name (XEP-0060 §7.1.5). */
  options: Submitted | undefined;
}

/** A session with more publishes than this on their way to the store is made to wait for them. */
const PIPELINE = 1024;
/** Longest item id on the hot path, in characters; longer ones are looked at closely. */
const SHORT_ID = 255;

/** A publish that the store was given: when it has it, the notifications and the result leave. */
class PublishDeparture extends Departure {
  /** When the publish was read. */
  private readonly since = flusher.receivedAt;
  /** Undefined until the store has answered; then whether it has the item, or why not. */
  private outcome: boolean | undefined;
  failure: unknown;

  constructor(
    private readonly engine: Engine,
    node: NodeState,
    reader: Reader | undefined,
    private readonly facts: NodeFacts,
    private readonly body: Buffer | undefined,
    private readonly answer: (published: boolean, failure: unknown) => void,
  ) {
    super(node, reader);
  }

  kept(there: boolean): void {
    this.outcome = there;
    this.ready();
  }

  failed(error: unknown): void {
    this.outcome = false;
    this.failure = error;
    this.ready();
  }

  protected leave(): void {
    const { policy } = this.facts;
    if (!this.outcome) return this.answer(false, this.failure);
    if (this.body !== undefined) {
      this.engine.fanout.send(this.node, policy.type, true, this.body);
      flusher.published(this.since);
    }
    passedOn(this.engine, this.node, this.answer);
  }
}

/**
 * XEP-0060 §7.1 without trees, waiting and, for nodes that do not persist, without promises. False when anything is not as
 * usual: then nothing was done and {@link publish} has to look.
 */
export function publishHot(engine: Engine, session: Endpoint, hot: HotPublish): boolean {
  const node = engine.nodes.peek(hot.node);
  const facts = node?.facts;
  if (facts === undefined || engine.cluster.congested) return false;
  const { policy } = facts;
  const { payload } = hot;
  if (!policy.plain || payload.length > policy.payloadLimit || !policy.fits(payload)) return false;
  const reader = engine.readerOf(session);
  if (reader.permit !== facts) {
    if (!facts.mayPublish(session.jid.bare)) return false;
    reader.permit = facts;
  }
  let itemId = hot.itemId;
  let escapedId: string;
  if (itemId === undefined) escapedId = itemId = freshId();
  else if (itemId.length > SHORT_ID) return false;
  else escapedId = escapeAttr(itemId);
  if (policy.persist && reader.departing >= PIPELINE) return false;
  const { id } = hot;
  submit(engine, node!, facts, session.jid.bare, reader, itemId, escapedId, payload, (published, failure) => {
    if (session.ended) return;
    session.sendBytes(
      published
        ? `${reader.result}${escapeAttr(id)}${resultMiddle(node!)}${escapedId}${RESULT_END}`
        : failedResult(engine, session, id, failure),
    );
  });
  return true;
}

/** Keeps the item where the node does, and lets the notifications go when it may. */
function submit(
  engine: Engine,
  node: NodeState,
  facts: NodeFacts,
  publisher: string,
  reader: Reader | undefined,
  itemId: string,
  escapedId: string,
  payload: Uint8Array,
  answer: (published: boolean, failure: unknown) => void,
): void {
  const { policy } = facts;
  counters.publishes++;
  let body: Buffer | undefined;
  if (policy.delivers && (node.recipients.length > 0 || node.workers.length > 0 || policy.persist)) {
    body = itemBody(
      node,
      freshId(),
      escapedId,
      policy.namesPublisher ? escapeAttr(publisher) : undefined,
      policy.payloads && payload.length > 0 ? payload : undefined,
    );
  }
  if (!policy.persist) {
    if (policy.keepsLast) engine.lastItems.remember(node, itemId, publisher, payload);
    if (node.tail === undefined && (reader === undefined || reader.tail === undefined)) {
      if (body !== undefined) {
        engine.fanout.send(node, policy.type, true, body);
        flusher.published(flusher.receivedAt);
      } else node.activity++;
      return passedOn(engine, node, answer);
    }
    const departure = new PublishDeparture(engine, node, reader, facts, body, answer);
    departure.queue();
    return departure.kept(true);
  }
  const now = Date.now();
  if (policy.expires) engine.expiry.due(node.name, policy, now);
  const item: ItemRecord = { id: itemId, publisher, published: now, payload };
  const departure = new PublishDeparture(engine, node, reader, facts, body, answer);
  departure.queue();
  engine.store.items.publish(node.name, item, policy.maxItems).then(
    (there) => departure.kept(there),
    (error: unknown) => departure.failed(error),
  );
}

/**
 * A result is a promise: it leaves when the workers that have recipients have taken the notification over, so that what was
 * answered outlives this worker. It also keeps a publisher's window whole: answering at once, before the other workers have
 * written, halves the batches of a publisher that waits for its subscribers.
 */
function passedOn(engine: Engine, node: NodeState, answer: (published: boolean, failure: unknown) => void): void {
  const settled = node.workers.length === 0 ? undefined : engine.cluster.barrier();
  if (settled === undefined) answer(true, undefined);
  else void settled.then(() => answer(true, undefined));
}

/** Why the store did not take the item. */
function refusalOf(engine: Engine, failure: unknown): Refusal {
  return failure === undefined ? new Refusal('node-not-found') : engine.failed(failure);
}

function failedResult(engine: Engine, session: Endpoint, id: string, failure: unknown): string {
  const error = stanzaError(refusalOf(engine, failure));
  counters.publishErrors++;
  count(counters.stanzaErrors, error.condition);
  const address = `id='${escapeAttr(id)}' from='${escapeAttr(engine.host)}' to='${escapeAttr(session.jid.full)}'`;
  return `<iq type='error' ${address}>${error.toElement().serialize('jabber:client')}</iq>`;
}

/** XEP-0060 §7.1 whole. Resolves to the item's id, undefined where the node takes no items. */
export async function publish(engine: Engine, actor: Actor, request: Publish): Promise<string | undefined | Refusal> {
  const answer = await attempt(engine, actor, request);
  if (answer instanceof Refusal) counters.publishErrors++;
  return answer;
}

async function attempt(engine: Engine, actor: Actor, request: Publish): Promise<string | undefined | Refusal> {
  const known = await destination(engine, actor, request);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  const { item } = request;
  const refused = mismatch(facts, item) ?? (item?.id === undefined ? undefined : engine.badName('item', item.id));
  if (refused !== undefined) return refused;
  if (item?.id !== undefined && item.id === '') return new Refusal('not-acceptable', 'the item id is empty');
  if (facts.policy.persist && (await isFull(engine, request.node, facts, item?.id))) return new Refusal('node-full');
  await engine.cluster.uncongested();
  const reader = actor.session === undefined ? undefined : engine.readerOf(actor.session);
  const node = engine.nodes.ensure(request.node);
  if (item === undefined) {
    // Transient and without payload: an event that something happened (XEP-0060 §4.3).
    counters.publishes++;
    await engine.inTurn(request.node, actor, Promise.resolve(), () =>
      engine.notify(request.node, facts, happened(request.node)),
    );
    return undefined;
  }
  const itemId = item.id ?? freshId();
  return new Promise((resolve) => {
    const done = (published: boolean, failure: unknown): void =>
      resolve(published ? itemId : refusalOf(engine, failure));
    const payload = item.payload?.bytes ?? NOTHING;
    submit(engine, node, facts, actor.jid.bare, reader, itemId, escapeAttr(itemId), payload, done);
  });
}

const NOTHING = Buffer.alloc(0);

/** The node to publish to, made where there is none (§7.1.4), if the actor may and the preconditions hold (§7.1.5). */
async function destination(
  engine: Engine,
  actor: Actor,
  { node: name, options }: Publish,
): Promise<{ facts: NodeFacts } | Refusal> {
  let known = await engine.node(name);
  if (known instanceof Refusal) {
    if (!mayCreate(engine, actor)) return known;
    for (const option of options?.keys() ?? []) if (!isNodeOption(option)) return unknownPrecondition(option);
    const made = await createNode(engine, actor, name, options);
    if (made instanceof Refusal && made.code !== 'node-exists') return made;
    known = await engine.node(name);
    if (known instanceof Refusal || !(made instanceof Refusal)) return known;
  }
  const { facts } = known;
  if (!(await mayPublish(engine, actor, name, facts))) return new Refusal('forbidden');
  if (options !== undefined && !meets(facts.policy.config, options, engine.limits)) {
    return new Refusal('precondition-not-met');
  }
  return { facts };
}

function unknownPrecondition(name: string): Refusal {
  return new Refusal('precondition-not-met', `pubsub#${name} is not known`);
}

async function mayPublish(engine: Engine, actor: Actor, name: string, facts: NodeFacts): Promise<boolean> {
  const { bare, full } = actor.jid;
  if (actor.admin || facts.mayPublish(bare)) return true;
  if (facts.policy.config.publish_model !== 'subscribers' || facts.affiliation(bare) === 'outcast') return false;
  const { nodes } = engine.store;
  const subscribed = isActive(await nodes.subscription(name, bare)) || isActive(await nodes.subscription(name, full));
  // Good for the hot path, until the facts or the subscription change.
  if (subscribed && actor.session !== undefined) engine.readerOf(actor.session).permit = facts;
  return subscribed;
}

/** Whether the request fits the event type that the node is configured for (§4.3, §7.1.3.5 to §7.1.3.7). */
function mismatch({ policy }: NodeFacts, item: Publish['item']): Refusal | undefined {
  if (item === undefined) {
    if (policy.persist) return new Refusal('item-required');
    return policy.payloads ? new Refusal('payload-required') : undefined;
  }
  if (!policy.persist && !policy.payloads) return new Refusal('item-forbidden');
  const { payload } = item;
  if (payload === undefined) return policy.payloads ? new Refusal('payload-required') : undefined;
  if (payload.bytes.length > policy.payloadLimit) {
    return new Refusal('payload-too-big', `the payload has ${payload.bytes.length} bytes of ${policy.payloadLimit}`);
  }
  const { type } = policy.config;
  return type !== '' && payload.ns !== type
    ? new Refusal('invalid-payload', `this node takes payloads of ${type}`)
    : undefined;
}

/** Only nodes that reject what they have no room for are ever full (§7.1.2.5). */
async function isFull(engine: Engine, name: string, facts: NodeFacts, itemId: string | undefined): Promise<boolean> {
  const { maxItems, config } = facts.policy;
  if (config.publish_node_full !== 'reject') return false;
  const { items } = engine.store;
  const notBefore = facts.policy.notBefore(Date.now());
  if ((await items.count(name, notBefore)) < maxItems) return false;
  return itemId === undefined || (await items.get(name, [itemId], notBefore)).length === 0;
}

// --- deleting items ------------------------------------------------------------------------------------------------------

export interface Retract {
  node: string;
  ids: readonly string[];
  /** What the request says of notifying; the node's configuration decides when it says nothing. */
  notify: boolean | undefined;
}

/** XEP-0060 §7.2: all of the items or, when one of them is not there or not the actor's to delete, none (§12.11). */
export async function retract(engine: Engine, actor: Actor, request: Retract): Promise<Refusal | undefined> {
  const { node: name, ids } = request;
  const known = await engine.node(name);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  const may = CAPABILITIES[engine.standing(actor, facts)].retract;
  if (may === 'none') return new Refusal('forbidden');
  if (!facts.policy.persist) return unsupported('persistent-items');
  const items = await engine.store.items.get(name, ids, facts.policy.notBefore(Date.now()));
  if (items.length < new Set(ids).size) return new Refusal('item-not-found');
  if (may === 'own' && items.some((item) => item.publisher !== actor.jid.bare)) return new Refusal('forbidden');
  const gone = await engine.inTurn(name, actor, engine.store.items.retract(name, ids), (removed) => {
    if (removed.length === 0 || !(request.notify ?? facts.policy.config.notify_retract)) return;
    engine.notify(name, facts, retracted(name, removed));
  });
  return gone.length === 0 ? new Refusal('item-not-found') : undefined;
}

/** XEP-0060 §8.5. */
export async function purge(engine: Engine, actor: Actor, name: string): Promise<Refusal | undefined> {
  const known = await engine.node(name);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  if (!CAPABILITIES[engine.standing(actor, facts)].purge) return new Refusal('forbidden');
  if (!facts.policy.persist) return unsupported('persistent-items');
  await engine.inTurn(name, actor, engine.store.items.purge(name), () => {
    if (facts.policy.config.notify_retract) engine.notify(name, facts, purged(name));
  });
  return undefined;
}
