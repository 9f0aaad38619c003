import type { Session } from '../session/session.js';
import type { Departure } from './departures.js';
import type { Audience } from './elsewhere.js';
import { MESSAGE_TYPES, NO_RECIPIENTS, type NodeFacts, type NodeState } from './node.js';
import type { Nodes } from './nodes.js';
import { escapeAttr } from '../xml/escape.js';
import { publishedNow } from './stamp.js';
import { messageHead } from './wire.js';

/** What the engine needs of a session. */
export type Endpoint = Pick<Session, 'jid' | 'deliver' | 'sendBytes' | 'available' | 'priority' | 'ended' | 'pubsub'>;

/** The subscribed JID's form: bare, or that of one resource. */
export type Form = 'bare' | 'full';

/** Tells a publisher what became of its publish. */
export type Answer = (published: boolean, failure: unknown) => void;

/** Of the many sessions that have no subscriptions; nothing is ever put into it. */
const NOWHERE = new Map<string, Recipient>();

/** What the engine keeps for a session, in the session's own slot. */
export class Reader {
  /** The nodes whose notifications come to the session, by name. Written by {@link Interest} alone. */
  recipients: Map<string, Recipient> = NOWHERE;
  /** What is for the bare JID comes here: available, of no negative priority (RFC 6121 §8.5.2.1.1), and subscriptions known. */
  reachable = false;
  /** Its subscriptions were read. */
  known = false;
  /** Available, and it got the last items for that. */
  online = false;
  /** Last items are looked for. */
  catchingUp: Promise<void> | undefined;
  closed = false;
  /** Facts under which the session was found to be allowed to publish; good for as long as they stand. */
  permit: NodeFacts | undefined;
  /** The last departure of the session's own publishes, and how many there are. */
  tail: Departure | undefined;
  departing = 0;
  /** Results of its publishes that wait for other workers, or for those before them, in order. */
  answers: { ready: boolean; give: Answer; published: boolean; failure: unknown }[] | undefined;
  private opening: string | undefined;
  private heads: (Buffer | undefined)[] | undefined;

  constructor(
    readonly session: Endpoint,
    private readonly host: string,
  ) {}

  /** Opening of results to this session, up to the value of `id`. */
  get result(): string {
    return (this.opening ??= resultHead(this.host, this.session.jid.full));
  }

  /** The opening of notifications to this session, made once for each form and type. */
  head(form: Form, type: number): Buffer {
    const at = form === 'bare' ? type : MESSAGE_TYPES.length + type;
    const { jid } = this.session;
    const heads = (this.heads ??= []);
    return (heads[at] ??= messageHead(this.host, form === 'bare' ? jid.bare : jid.full, MESSAGE_TYPES[type]!));
  }
}

/** A session in a node's list. It may be there by its bare JID's subscription, by its own, or both, and gets each item once. */
export class Recipient {
  bare = false;
  full = false;
  /** Place in the node's list; -1 before and after. */
  index = -1;
  /** After how many gaps it came: what was missed before is not for it. */
  readonly gaps: number;
  head: Buffer;
  readonly session: Endpoint;

  constructor(
    readonly reader: Reader,
    readonly node: NodeState,
    gaps: number,
  ) {
    this.gaps = gaps;
    this.session = reader.session;
    this.head = reader.head('bare', node.headType);
  }

  /** Notifications are addressed to the subscribed JID (XEP-0060 §12.3), the nearer one where both are. */
  address(): void {
    this.head = this.reader.head(this.full ? 'full' : 'bare', this.node.headType);
  }
}

/** Tells other workers that this one gained its first, or lost its last, recipient of nodes. */
export type Announce = (gained: readonly string[], lost: readonly string[]) => void;

/**
 * Who has to hear of a node: this worker's sessions, and the other workers that have any. Lists are dense and change in
 * constant time; closing a session costs what it was subscribed to. {@link flush} follows the last of a series of changes.
 */
export class Interest {
  private readonly moved = new Map<string, boolean>();
  /** How often this worker was cut off from others for so long that something may have been missed. */
  gaps = 0;

  constructor(
    private readonly nodes: Nodes,
    private readonly announce: Announce,
  ) {}

  // --- this worker's sessions ----------------------------------------------------------------------------------------

  /** The session is reached by a subscription of that form, or not any more. */
  set(reader: Reader, name: string, form: Form, on: boolean): void {
    let recipient = reader.recipients.get(name);
    if (on) {
      if (reader.closed || (form === 'bare' && !reader.reachable)) return;
      if (recipient === undefined) {
        recipient = new Recipient(reader, this.nodes.ensure(name), this.gaps);
        if (reader.recipients === NOWHERE) reader.recipients = new Map();
        reader.recipients.set(name, recipient);
        this.add(recipient);
      }
      recipient[form] = true;
      recipient.address();
    } else if (recipient !== undefined) {
      recipient[form] = false;
      if (recipient.bare || recipient.full) return recipient.address();
      reader.recipients.delete(name);
      this.remove(recipient);
    }
  }

  /** The session takes what is for its bare JID, or not any more; which nodes that are is told by {@link set}. */
  reach(reader: Reader, reachable: boolean): void {
    if (reader.reachable === reachable) return;
    reader.reachable = reachable;
    if (!reachable) for (const name of [...reader.recipients.keys()]) this.set(reader, name, 'bare', false);
  }

  /** The session is over. */
  close(reader: Reader): void {
    reader.closed = true;
    reader.reachable = false;
    for (const recipient of reader.recipients.values()) this.remove(recipient);
    reader.recipients = NOWHERE;
  }

  /** Notifications of the node go out with another message type from now on. */
  retype(node: NodeState, type: number): void {
    node.headType = type;
    for (const recipient of node.recipients) recipient.address();
  }

  private add(recipient: Recipient): void {
    const { node } = recipient;
    if (node.recipients.length === 0) {
      node.recipients = [];
      node.seen = 0;
      node.readSince = publishedNow();
      this.move(node.name, true);
    }
    recipient.index = node.recipients.length;
    node.recipients.push(recipient);
  }

  private remove(recipient: Recipient): void {
    const { node, index } = recipient;
    const list = node.recipients;
    const last = list.pop()!;
    if (last !== recipient) {
      list[index] = last;
      last.index = index;
    }
    recipient.index = -1;
    if (list.length > 0) return;
    node.recipients = NO_RECIPIENTS;
    this.move(node.name, false);
    this.nodes.release(node);
  }

  /** There and back again is nothing to tell. */
  private move(name: string, gained: boolean): void {
    if (this.moved.get(name) === !gained) this.moved.delete(name);
    else this.moved.set(name, gained);
  }

  /** Tells the other workers of the transitions since the last time. True when there were any. */
  flush(): boolean {
    if (this.moved.size === 0) return false;
    const gained: string[] = [];
    const lost: string[] = [];
    for (const [name, gain] of this.moved) (gain ? gained : lost).push(name);
    this.moved.clear();
    this.announce(gained, lost);
    return true;
  }

  /** Every node that has a recipient here. */
  local(): string[] {
    const names: string[] = [];
    for (const state of this.nodes.all()) if (state.recipients.length > 0) names.push(state.name);
    return names;
  }

  // --- other workers ---------------------------------------------------------------------------------------------------

  /** Another worker has its first recipient of the node. */
  gain(worker: number, name: string): void {
    this.heard(name, this.nodes.elsewhere.gain(worker, name));
  }

  /** Another worker has no recipient of the node any more. */
  lose(worker: number, name: string): void {
    this.heard(name, this.nodes.elsewhere.lose(worker, name));
  }

  /** Another worker is gone. */
  workerGone(worker: number): void {
    this.nodes.elsewhere.workerGone(worker);
  }

  private heard(name: string, audience: Audience): void {
    const node = this.nodes.peek(name);
    if (node !== undefined) node.elsewhere = audience;
  }
}

function resultHead(host: string, to: string): string {
  return `<iq type='result' from='${escapeAttr(host)}' to='${escapeAttr(to)}' id='`;
}
