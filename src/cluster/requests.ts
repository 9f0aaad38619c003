import { PeerGone } from './bus.js';

interface Waiting {
  peer: number;
  resolve: (body: Buffer) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

/** Requests that wait for a peer's answer. */
export class Requests {
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  /** Calls `send` with the id under which the answer must come. */
  open(peer: number, timeoutMs: number, send: (id: number) => void): Promise<Buffer> {
    const id = (this.last = this.last === 0xffffffff ? 1 : this.last + 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.take(id, peer)?.reject(new PeerGone(peer)), timeoutMs);
      this.waiting.set(id, { peer, resolve, reject, timer });
      send(id);
    });
  }

  answered(id: number, peer: number, body: Buffer): void {
    this.take(id, peer)?.resolve(body);
  }

  refused(id: number, peer: number, reason: string): void {
    this.take(id, peer)?.reject(new Error(reason));
  }

  gone(peer: number): void {
    for (const [id, waiting] of [...this.waiting]) {
      if (waiting.peer === peer) this.take(id, peer)?.reject(new PeerGone(peer));
    }
  }

  end(): void {
    for (const [id, { peer }] of [...this.waiting]) this.take(id, peer)?.reject(new PeerGone(peer));
  }

  /** Only the peer that was asked may answer, and only once. */
  private take(id: number, peer: number): Waiting | undefined {
    const waiting = this.waiting.get(id);
    if (!waiting || waiting.peer !== peer) return undefined;
    this.waiting.delete(id);
    clearTimeout(waiting.timer);
    return waiting;
  }
}
