import type { Destinations } from '../session/moving/destinations.js';
import type { Moving } from '../session/moving/moving.js';
import type { Registry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import type { Connection } from '../stream/connection.js';

export interface DrainOptions {
  connections: Set<Connection>;
  registry: Registry;
  moving: Moving;
  graceMilliseconds: number;
  /** Clients are sent away at random within this time. */
  spreadMilliseconds: number;
  destinations: Destinations;
}

/** How often the queues are looked at, in milliseconds. */
const EVERY = 20;
/** Sessions on their way at once. */
const MOVES = 32;
/** How often a session is tried to be moved. */
const ATTEMPTS = 3;
/** After the grace, until what is left is cut. */
const LAST_MS = 500;
/** Part of the grace within which the last client is sent away, whatever the spread. */
const SPREAD_MAX = 0.7;

/**
 * Closes every stream once its queue is written (RFC 6120 §4.4); those that are not done when the grace ends are cut with
 * `system-shutdown` (§4.9.3.20). Streams whose sessions can go to another worker are closed with an error, so that their clients come
 * back and resume (XEP-0198 §7), and the sessions go. Resolves when all is done, or a little after the grace.
 */
export class Drain {
  private readonly end: number;
  private readonly spread: number;
  private readonly due = new WeakMap<Connection, number>();
  private readonly attempts = new WeakMap<Session, number>();
  private underWay = 0;

  constructor(private readonly options: DrainOptions) {
    this.end = Date.now() + options.graceMilliseconds;
    this.spread = Math.min(options.spreadMilliseconds, options.graceMilliseconds * SPREAD_MAX);
  }

  async run(): Promise<void> {
    const { connections, registry, destinations } = this.options;
    // What waits for clients that cannot come back is answered while its senders are there.
    if (!destinations.any) for (const session of registry.all()) if (isDetached(session)) session.end();
    while (Date.now() <= this.end + LAST_MS) {
      for (const connection of connections) this.close(connection);
      const waiting = this.move();
      if (connections.size === 0 && !waiting) break;
      await new Promise((resolve) => setTimeout(resolve, EVERY));
    }
    for (const connection of connections) connection.transport.destroy();
    // Other hosts see to what could not go there. Else it goes to whoever is left, and nothing of these sessions stays in the directory.
    if (destinations.any || !destinations.apart()) for (const session of [...registry.all()]) session.end();
  }

  private close(connection: Connection): void {
    const now = Date.now();
    if (now >= this.end) return connection.fail({ condition: 'system-shutdown' });
    let due = this.due.get(connection);
    if (due === undefined) this.due.set(connection, (due = now + Math.random() * this.spread));
    if (now < due) return;
    // What another worker queued for a socket here is still to come: that worker closes the stream when it is through.
    const holder = connection.relayedTo;
    if (holder !== undefined) return this.options.destinations.stays(holder) ? connection.dismissRelay() : undefined;
    if (!connection.idle) return;
    if (connection.bound?.resumption === undefined || !this.options.destinations.any) connection.close();
    else connection.sendAway(this.options.destinations.refuge());
  }

  /** Sends sessions on their way; false when none is left here that could go, or there is nowhere to go. */
  private move(): boolean {
    const { registry, moving, destinations } = this.options;
    // What is on its way to other hosts, or from there, will not get there either.
    if (destinations.apart() && !destinations.any) return false;
    let waiting = this.underWay > 0 || moving.expecting;
    for (const session of registry.all()) {
      if (!isDetached(session) || session.ended) continue;
      if (!destinations.any) return this.underWay > 0;
      waiting = true;
      if (session.moving !== undefined) continue;
      const to = this.underWay < MOVES ? destinations.next() : undefined;
      if (to === undefined) break;
      const attempt = (this.attempts.get(session) ?? 0) + 1;
      this.attempts.set(session, attempt);
      this.underWay++;
      void moving.move(session, to).then((moved) => {
        this.underWay--;
        if (!moved && attempt === ATTEMPTS && session.moving === undefined) session.end();
      });
    }
    return waiting;
  }
}

/** Its client is away, and may come back to it. */
function isDetached({ connection, resumption }: Session): boolean {
  return connection === undefined && resumption !== undefined;
}
