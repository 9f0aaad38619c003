import { count, counters } from '../metrics/counters.js';
import type { ItemRecord } from '../store/store.js';
import { flusher } from '../stream/flusher.js';
import { escapeAttr } from '../xml/escape.js';
import { Departure } from './departures.js';
import type { Engine } from './engine.js';
import { freshId } from './ids.js';
import type { Answer, Endpoint, Reader } from './interest.js';
import type { NodeFacts, NodeState } from './node.js';
import { Refusal } from './refusals.js';
import { publishedNow } from './stamp.js';
import { RESULT_END, itemBody, resultMiddle } from './wire.js';
import { stanzaError } from './xml/errors.js';

/** The facts of a publish on the hot path; `payload` is a view that is valid only during the call. */
export interface HotPublish {
  /** The iq's id. */
  id: string;
  node: string;
  itemId: string | undefined;
  /** One payload element that uses no namespace binding from outside itself. */
  payload: Buffer;
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
    /** Of a kept item: when it is published. */
    private readonly published: number,
    private readonly answer: Answer,
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

  /** The node may have been deleted meanwhile: then this was the last that held its state. */
  protected override left(): void {
    super.left();
    this.engine.nodes.release(this.node);
  }

  protected leave(): void {
    const { policy } = this.facts;
    if (!this.outcome) return answered(this.reader, undefined, this.answer, false, this.failure);
    if (this.body !== undefined) {
      this.engine.fanout.send(this.node, policy.type, true, this.body, this.published);
      flusher.published(this.since);
    }
    passedOn(this.engine, this.node, this.reader, this.published, this.answer);
  }
}

/**
 * XEP-0060 §7.1 without trees, waiting and, for nodes that do not persist, without promises. False when anything is not as
 * usual: then nothing was done and `publish` has to look.
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
  else if (itemId === '' || itemId.length > SHORT_ID) return false;
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

/** Gives the item to the store; false when the node is gone. Rejects with a refusal where it may not be kept. */
export type Keep = (item: ItemRecord) => Promise<boolean>;

/** Keeps the item where the node does, and lets the notifications go when it may. */
export function submit(
  engine: Engine,
  node: NodeState,
  facts: NodeFacts,
  publisher: string,
  reader: Reader | undefined,
  itemId: string,
  escapedId: string,
  payload: Uint8Array,
  answer: Answer,
  keep: Keep = (item) => engine.store.items.publish(node.name, item, facts.policy.maxItems),
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
      return passedOn(engine, node, reader, 0, answer);
    }
    const departure = new PublishDeparture(engine, node, reader, facts, body, 0, answer);
    departure.queue();
    return departure.kept(true);
  }
  const now = publishedNow();
  if (policy.expires) engine.expiry.due(node.name, policy, now);
  const item: ItemRecord = { id: itemId, publisher, published: now, payload };
  const departure = new PublishDeparture(engine, node, reader, facts, body, now, answer);
  departure.queue();
  keep(item).then(
    (there) => departure.kept(there),
    (error: unknown) => departure.failed(error),
  );
}

/**
 * A result is a promise: it leaves when the workers that have recipients have taken the notification over, or it lies in their
 * inboxes, so that what was answered outlives this worker. It also keeps a publisher's window whole: answering at once, before the other workers have
 * written, halves the batches of a publisher that waits for its subscribers.
 */
function passedOn(
  engine: Engine,
  node: NodeState,
  reader: Reader | undefined,
  published: number,
  answer: Answer,
): void {
  const settled = engine.fanout.passedOn(node, published);
  answered(reader, settled, answer, true, undefined);
}

/**
 * Answers when `settled` is, and behind what the session's publishes before are answered with (RFC 6120 §10.1): other workers wait
 * for others.
 */
function answered(
  reader: Reader | undefined,
  settled: Promise<void> | undefined,
  answer: Answer,
  published: boolean,
  failure: unknown,
): void {
  const queue = reader?.answers;
  if (settled === undefined && (queue === undefined || queue.length === 0)) return answer(published, failure);
  if (reader === undefined) return void settled?.then(() => answer(published, failure));
  const place = { ready: settled === undefined, give: answer, published, failure };
  const answers = (reader.answers ??= []);
  answers.push(place);
  void settled?.then(() => {
    place.ready = true;
    while (answers[0]?.ready) {
      const { give, published, failure } = answers.shift()!;
      give(published, failure);
    }
  });
}

/** Why the store did not take the item. */
export function refusalOf(engine: Engine, failure: unknown): Refusal {
  if (failure instanceof Refusal) return failure;
  return failure === undefined ? new Refusal('node-not-found') : engine.failed(failure);
}

function failedResult(engine: Engine, session: Endpoint, id: string, failure: unknown): string {
  const error = stanzaError(refusalOf(engine, failure));
  counters.publishErrors++;
  count(counters.stanzaErrors, error.condition);
  const address = `id='${escapeAttr(id)}' from='${escapeAttr(engine.host)}' to='${escapeAttr(session.jid.full)}'`;
  return `<iq type='error' ${address}>${error.toElement().serialize('jabber:client')}</iq>`;
}
