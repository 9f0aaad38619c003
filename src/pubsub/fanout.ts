import { type Bus, CHANNEL } from '../cluster/bus.js';
import type { Jid } from '../jid/jid.js';
import { counters } from '../metrics/counters.js';
import type { Session } from '../session/session.js';
import { Shared } from '../stream/outbox.js';
import { Apart } from './apart.js';
import { CHANGE, FrameReader, NOTIFY, nameBytes } from './frames.js';
import type { Interest, Recipient } from './interest.js';
import { MESSAGE_TYPES, type NodeState } from './node.js';
import type { Nodes } from './nodes.js';
import { Recent } from './recent.js';
import { SentLate } from './sent-late.js';
import { messageHead } from './wire.js';

/** When an item was published, as it is sent. */
const STAMP = Buffer.allocUnsafe(8);

/** A notification for all recipients of a node. */
export interface Notification {
  /** An index into MESSAGE_TYPES. */
  type: number;
  /** Of an item, which newer ones make obsolete: a slow reader may lose it. */
  droppable: boolean;
  body: Buffer;
  /** Of a kept item: when it was published (stamp.ts); else 0. */
  published: number;
}

/** The sessions of a bare JID in this worker. */
export interface Sessions {
  sessionsOf(bare: string): readonly Session[];
}

/** Sends notifications: to this worker's recipients by reference, to every other worker that has any in one frame. */
export class Fanout {
  /** What this worker's recipients got last. */
  readonly recent = new Recent();
  readonly apart: Apart;
  readonly sentLate = new SentLate();
  /** Keeps notifications back as long as older ones may follow; true for those that it has taken. */
  hold: ((node: NodeState, notification: Notification) => boolean) | undefined;

  constructor(
    private readonly host: string,
    private readonly bus: Bus,
    private readonly nodes: Nodes,
    private readonly interest: Interest,
    private readonly sessions: Sessions,
  ) {
    this.apart = new Apart(bus, (name, notification) => {
      const node = nodes.ensure(name);
      const { type, droppable, body, published } = notification;
      this.sendAway(node, type, droppable, body, published);
      nodes.release(node);
    });
  }

  /** Hot path. See {@link Notification}. */
  send(node: NodeState, type: number, droppable: boolean, body: Buffer, published = 0): void {
    // What others have to do is under way before this worker writes to its own sockets.
    if (this.apart.now && lasting(droppable, published))
      this.apart.put(node.name, { type, droppable, body, published });
    else this.sendAway(node, type, droppable, body, published);
    this.deliver(node, type, droppable, body, published);
  }

  /** Resolves when what was sent to the node's recipients elsewhere outlives this worker; undefined where that is so. */
  passedOn(node: NodeState, published: number): Promise<void> | undefined {
    if (published !== 0 && this.apart.now) return this.apart.over.then(() => this.passedOn(node, published));
    const { workers } = node;
    return workers.length === 0 || this.bus.peers.size === 0 ? undefined : this.bus.delivered(workers);
  }

  private sendAway(node: NodeState, type: number, droppable: boolean, body: Buffer, published: number): void {
    const { workers } = node;
    if (workers.length === 0) return;
    const first = droppable ? type | NOTIFY.droppable : type;
    if (published === 0) {
      const head = this.frameHead(node, first);
      for (let i = 0; i < workers.length; i++) this.bus.send(workers[i]!, CHANNEL.notify, head, body);
      return;
    }
    const head = this.frameHead(node, first | NOTIFY.stamped);
    STAMP.writeDoubleBE(published);
    for (let i = 0; i < workers.length; i++) this.bus.send(workers[i]!, CHANNEL.notify, head, STAMP, body);
  }

  private deliver(node: NodeState, type: number, droppable: boolean, body: Buffer, published: number): void {
    node.activity++;
    if (node.recipients.length === 0) return;
    if (this.hold !== undefined && lasting(droppable, published)) {
      if (this.hold(node, { type, droppable, body, published })) return;
    }
    this.toRecipients(node, type, droppable, body, published);
  }

  /** To this worker's recipients, now. */
  toRecipients(node: NodeState, type: number, droppable: boolean, body: Buffer, published: number): void {
    const list = node.recipients;
    const count = list.length;
    if (count === 0) return;
    if (published !== 0) this.seen(node, published);
    if (node.headType !== type) this.interest.retype(node, type);
    const shared = new Shared(body, droppable ? node.name : undefined);
    // From the end: a delivery that ends its session takes that one out of the list.
    for (let i = count - 1; i >= 0; i--) {
      const recipient = list[i]!;
      recipient.session.deliver(recipient.head, shared);
    }
    counters.deliveries += count;
  }

  /** A kept item that this worker's recipients missed, to those among them that were there before the last gap. */
  missed(node: NodeState, type: number, body: Buffer, published: number): void {
    this.seen(node, published);
    this.sentLate.add(node.name, published);
    if (node.headType !== type) this.interest.retype(node, type);
    const shared = new Shared(body, node.name);
    for (const recipient of [...node.recipients]) {
      if (recipient.gaps === this.interest.gaps) continue;
      recipient.session.deliver(recipient.head, shared);
      counters.deliveries++;
      counters.caughtUp++;
    }
  }

  private seen(node: NodeState, published: number): void {
    node.seen = published;
    this.recent.add(node.name, published);
  }

  /** One byte for type and flags, then the node's name. Items are by far the most, so that head is kept. */
  private frameHead(node: NodeState, first: number): Buffer {
    if (node.frame === undefined || node.frame[0] !== first) {
      node.frame = Buffer.concat([Buffer.from([first]), nameBytes(node.name)]);
    }
    return node.frame;
  }

  /** A notification from another worker. The frame is valid only now. */
  received(frame: Buffer): void {
    const reader = new FrameReader(frame);
    const first = reader.byte();
    const node = this.nodes.peek(reader.name());
    if (node === undefined) return;
    const published = (first & NOTIFY.stamped) === 0 ? 0 : reader.double();
    if ((first & NOTIFY.repeated) !== 0 && published !== 0 && this.recent.has(node.name, published)) return;
    if (this.sentLate.has(node.name, published)) return;
    const droppable = (first & NOTIFY.droppable) !== 0;
    this.deliver(node, first & NOTIFY.type, droppable, Buffer.from(reader.rest()), published);
  }

  /** To one of the node's recipients alone. */
  one(recipient: Recipient, type: number, body: Buffer): void {
    recipient.session.deliver(
      recipient.reader.head(recipient.full ? 'full' : 'bare', type),
      new Shared(body, recipient.node.name),
    );
    counters.deliveries++;
  }

  // --- for one JID -----------------------------------------------------------------------------------------------------

  /** A notification that concerns one subscribed JID alone, wherever its sessions are. */
  direct(to: Jid, type: number, body: Buffer): void {
    this.deliverTo(to.full, to.bare, type, body);
    if (this.bus.peers.size === 0) return;
    this.bus.broadcast(
      CHANNEL.node,
      Buffer.from([CHANGE.direct]),
      nameBytes(to.full, to.bare),
      Buffer.from([type]),
      body,
    );
  }

  /** The same, come from another worker. */
  receivedDirect(reader: FrameReader): void {
    const full = reader.name();
    const bare = reader.name();
    const type = reader.byte();
    this.deliverTo(full, bare, type, Buffer.from(reader.rest()));
  }

  private deliverTo(full: string, bare: string, type: number, body: Buffer): void {
    const sessions = this.sessions.sessionsOf(bare);
    if (sessions.length === 0) return;
    const head = messageHead(this.host, full, MESSAGE_TYPES[type]!);
    const shared = new Shared(body);
    for (const session of sessions) {
      if (full === bare ? !session.available || session.priority < 0 : session.jid.full !== full) continue;
      session.deliver(head, shared);
      counters.deliveries++;
    }
  }
}

/** Not of an item that nobody keeps: whoever misses that does so for ever. */
function lasting(droppable: boolean, published: number): boolean {
  return published !== 0 || !droppable;
}
