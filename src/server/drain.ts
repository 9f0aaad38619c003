import type { Connection } from '../stream/connection.js';

/** How often the queues are looked at, in milliseconds. */
const EVERY = 20;

/**
 * Closes every stream once its queue is written (RFC 6120 §4.4); those that are not done when the grace ends are cut with
 * `system-shutdown` (§4.9.3.20). Resolves when all carriers are gone, or a little after the grace.
 */
export function drain(connections: Set<Connection>, graceMilliseconds: number): Promise<void> {
  const end = Date.now() + graceMilliseconds;
  return new Promise((resolve) => {
    const turn = (): void => {
      const late = Date.now() >= end;
      for (const connection of connections) {
        if (late) connection.fail({ condition: 'system-shutdown' });
        // What another worker queued for a socket here is still to come: that worker closes the stream when it is through.
        else if (connection.idle && !connection.relayed) connection.close();
      }
      if (connections.size === 0) return resolve();
      if (Date.now() > end + 500) {
        for (const connection of connections) connection.transport.destroy();
        return resolve();
      }
      setTimeout(turn, EVERY);
    };
    turn();
  });
}
