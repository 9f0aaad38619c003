import type { RemotePeer } from './remote-peer.js';

/** Of this tick: who waits for its frames to be in inboxes. */
export class Landings {
  private next: { promise: Promise<void>; done: () => void; peers: Set<number> } | undefined;

  /** Resolves when what this tick sends to those peers is in their inboxes, or given up. */
  join(peers: readonly number[]): Promise<void> {
    if (!this.next) {
      let done = (): void => undefined;
      const promise = new Promise<void>((resolve) => (done = resolve));
      this.next = { promise, done, peers: new Set() };
    }
    for (let i = 0; i < peers.length; i++) this.next.peers.add(peers[i]!);
    return this.next.promise;
  }

  /** The frames of this tick are queued. */
  leave(find: (peer: number) => RemotePeer | undefined): void {
    const { next } = this;
    if (!next) return;
    this.next = undefined;
    let left = 1;
    const one = (): void => void (--left === 0 && next.done());
    for (const peer of next.peers) if (find(peer)?.inInbox(one) === false) left++;
    one();
  }

  end(): void {
    this.next?.done();
  }
}
