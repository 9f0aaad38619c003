/**
 * The bus between workers: ordered, batched per tick, bounded. It carries bytes and knows nothing of
 * what they mean. Frames from one worker to another arrive in the order of the calls, each once, or not at
 * all when the receiver dies. Where that cannot be kept, since the two were cut off from each other for too long, both see the
 * other going down and coming up again.
 */
export interface Bus {
  /** This worker's number: unique per incarnation, so a restarted worker is a new peer. */
  readonly self: number;
  /** The live peers, without this worker. */
  readonly peers: ReadonlySet<number>;
  /** Those of them that are of this host: reached without Redis. */
  readonly siblings: ReadonlySet<number>;
  /** Queues one frame for this tick's batch; `parts` are joined, and copied before the call returns. */
  send(peer: number, channel: Channel, ...parts: Uint8Array[]): void;
  broadcast(channel: Channel, ...parts: Uint8Array[]): void;
  /** Sends a frame and waits for the peer's answer; rejects with {@link PeerGone} when it dies or `timeoutMs` passes. */
  request(peer: number, channel: Channel, body: Uint8Array, timeoutMs?: number): Promise<Buffer>;
  /**
   * One listener per channel. `body` is valid only during the call. What it returns answers a `request`. `late`: it also hears what a
   * worker had sent before it was taken for dead.
   */
  listen(channel: Channel, listener: BusListener, late?: boolean): void;
  /** Resolves when those of the peers that live (by default all) have handled all frames that were sent to them before. */
  barrier(peers?: readonly number[]): Promise<void>;
  /**
   * Resolves when what was sent to those peers before outlives this worker: handled by those of this host, in the inboxes of
   * others. It comes no earlier than that, and often earlier than {@link barrier}.
   */
  delivered(peers: readonly number[]): Promise<void>;
  /** Bytes waiting to be written to the slowest peer; above `highWater` publishers should be paused. */
  readonly backlog: number;
  readonly congested: boolean;
  /** Called when `congested` changes. */
  onCongestion(listener: (congested: boolean) => void): void;
  /** Called for every peer that is there or comes; frames sent in the call are the first that the peer gets from us. */
  onPeerUp(listener: (peer: number) => void): void;
  onPeerDown(listener: (peer: number) => void): void;
  /**
   * One listener per channel, for frames whose peer went down before it had confirmed them: in the order in which they were sent,
   * after all have heard that it is down. For what must not vanish with a dead worker.
   *
   * While the sender lives, none of the channel's frames is lost: a frame was handled by its peer, or comes back, or both. Both are
   * those that the peer handled in the last moments before its death, up to {@link CONFIRM_MS} and the way of its confirmation;
   * a peer that leaves in order confirms all it has handled. Where the sender is dead, too, what it had put into an inbox in Redis comes
   * back at one of the living, and what it had not is lost.
   */
  onUndelivered(channel: Channel, listener: UndeliveredListener): void;
  /**
   * Called when what others sent to this worker may be lost: it was cut off from them, or one of them from it, for too long. `since`: it was not
   * yet then, in milliseconds since the epoch. `over` resolves when it is one of them again, with new peers; undefined where it always was.
   */
  onGap(listener: GapListener): void;
  /**
   * One listener per channel, for frames that had not got to their peers when a gap of this worker began: those peers live, will be up again
   * before it is over, and may have handled the last of these frames.
   */
  onUnsent(channel: Channel, listener: (peer: number, body: Buffer) => void): void;
  close(): Promise<void>;
}

export type BusListener = (from: number, body: Buffer) => void | Uint8Array | Promise<Uint8Array>;

/** `body` is valid only during the call. `lives`: the peer is there, but the way to it began anew, and this frame never got to it. */
export type UndeliveredListener = (peer: number, body: Buffer, lives: boolean) => void;

export type GapListener = (since: number, over: Promise<void> | undefined) => void;

/**
 * How long a worker waits at most for all others to have handled what it sent when it met them. One that does not answer is dead, or
 * has to begin anew itself.
 */
export const MEET_MS = 15_000;

/** How long workers of this host may take to say what they know, in milliseconds. */
export const SIBLING_MS = 1_000;

/** How late a frame is confirmed that would come back otherwise, in milliseconds. */
export const CONFIRM_MS = 20;

/** Who speaks to whom: one number per use of the bus, each owned by one module. */
export const CHANNEL = {
  /** session/router: a stanza for sessions of one bare or full JID. */
  stanza: 1,
  /** session/registry: a session was displaced or must be closed. */
  kick: 2,
  /** session/resumption: hand over a session to the asking worker. */
  resume: 3,
  /** cluster/directory: a bare JID's entries changed. */
  directory: 4,
  /** pubsub/interest: a worker gained or lost its first local recipient of a node. */
  interest: 5,
  /** pubsub/fanout: a notification for the local recipients of a node. */
  notify: 6,
  /** pubsub/nodes: a node's durable facts changed. */
  node: 7,
  /** stream/sasl: proof of a verified password, or its end. */
  proof: 8,
  /** stream/relay: bytes between a socket here and a session there. */
  relay: 9,
  /** session/moving: a session goes to another worker. */
  move: 10,
  /** session/succession: what waited in a session whose resource a new one took. */
  inherit: 11,
  /** session/moving: a worker closes, and takes no session any more. */
  leaving: 12,
  /** cluster/hosts: a worker came, or is known to be dead. */
  hosts: 13,
  /** cluster/directory: which sessions of a bare JID are at a worker of this host, while Redis is away. */
  siblings: 14,
} as const;
export type Channel = (typeof CHANNEL)[keyof typeof CHANNEL];

export class PeerGone extends Error {
  constructor(readonly peer: number) {
    super(`worker ${peer} is gone or does not answer`);
    this.name = 'PeerGone';
  }
}
