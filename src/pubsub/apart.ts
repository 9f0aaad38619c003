import { type Bus, CHANNEL } from '../cluster/bus.js';
import type { Notification } from './fanout.js';
import { NOTIFY } from './frames.js';

const SETTLED = Promise.resolve();

/**
 * What this worker's publishers have for others while it is not one of them: after it was taken for dead, until it knows again who has
 * recipients of what. It is sent then, and answered for then. Publishers wait for these answers, so that there is never much of it.
 */
export class Apart {
  now = false;
  /** Resolves when it is over and all is on its way. */
  over: Promise<void> = SETTLED;
  private end: () => void = () => undefined;
  private readonly kept: { name: string; notification: Notification }[] = [];
  /** By peer: frames that had not got there. */
  private readonly unsent = new Map<number, Buffer[]>();

  constructor(
    bus: Bus,
    private readonly send: (name: string, notification: Notification) => void,
  ) {
    bus.onUnsent(CHANNEL.notify, (peer, body) => {
      const first = body[0]!;
      if ((first & NOTIFY.droppable) !== 0 && (first & NOTIFY.stamped) === 0) return;
      const frame = Buffer.from(body);
      frame[0] = first | NOTIFY.repeated;
      const frames = this.unsent.get(peer);
      if (frames === undefined) this.unsent.set(peer, [frame]);
      else frames.push(frame);
    });
    bus.onPeerUp((peer) => {
      for (const frame of this.unsent.get(peer) ?? []) bus.send(peer, CHANNEL.notify, frame);
      this.unsent.delete(peer);
    });
  }

  begin(): void {
    if (this.now) return;
    this.now = true;
    this.over = new Promise((resolve) => (this.end = resolve));
  }

  put(name: string, notification: Notification): void {
    this.kept.push({ name, notification });
  }

  /** Who has recipients of what is known again. */
  finish(): void {
    this.now = false;
    // Whoever is not there by now is dead.
    this.unsent.clear();
    for (const { name, notification } of this.kept.splice(0)) this.send(name, notification);
    this.end();
  }
}
