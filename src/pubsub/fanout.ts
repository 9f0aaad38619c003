import { type Bus, CHANNEL } from '../cluster/bus.js';
import type { Jid } from '../jid/jid.js';
import { counters } from '../metrics/counters.js';
import type { Session } from '../session/session.js';
import { Shared } from '../stream/outbox.js';
import { CHANGE, FrameReader, nameBytes } from './frames.js';
import type { Interest, Recipient } from './interest.js';
import { MESSAGE_TYPES, type NodeState } from './node.js';
import type { Nodes } from './nodes.js';
import { messageHead } from './wire.js';

/** Flag beside the message type in a frame: a slow reader may lose this notification. */
const DROPPABLE = 0x80;

/** The sessions of a bare JID in this worker. */
export interface Sessions {
  sessionsOf(bare: string): readonly Session[];
}

/** Sends notifications: to this worker's recipients by reference, to every other worker that has any in one frame. */
export class Fanout {
  constructor(
    private readonly host: string,
    private readonly bus: Bus,
    private readonly nodes: Nodes,
    private readonly interest: Interest,
    private readonly sessions: Sessions,
  ) {}

  /** Hot path. `type` is an index into MESSAGE_TYPES; `droppable` for items, which newer ones make obsolete. */
  send(node: NodeState, type: number, droppable: boolean, body: Buffer): void {
    const { workers } = node;
    // What others have to do is under way before this worker writes to its own sockets.
    if (workers.length > 0) {
      const head = this.frameHead(node, droppable ? type | DROPPABLE : type);
      for (let i = 0; i < workers.length; i++) this.bus.send(workers[i]!, CHANNEL.notify, head, body);
    }
    this.deliver(node, type, droppable, body);
  }

  private deliver(node: NodeState, type: number, droppable: boolean, body: Buffer): void {
    node.activity++;
    const list = node.recipients;
    const count = list.length;
    if (count === 0) return;
    if (node.headType !== type) this.interest.retype(node, type);
    const shared = new Shared(body, droppable ? node.name : undefined);
    // From the end: a delivery that ends its session takes that one out of the list.
    for (let i = count - 1; i >= 0; i--) {
      const recipient = list[i]!;
      recipient.session.deliver(recipient.head, shared);
    }
    counters.deliveries += count;
  }

  /** One byte for type and flag, then the node's name. Items are by far the most, so that head is kept. */
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
    this.deliver(node, first & ~DROPPABLE, (first & DROPPABLE) !== 0, Buffer.from(reader.rest()));
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
