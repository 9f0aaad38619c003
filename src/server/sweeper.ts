import type { Config } from '../config/config.js';
import { count, counters } from '../metrics/counters.js';
import type { Connection } from '../stream/connection.js';

const EVERY = 1000;

/**
 * Looks at every connection once a second: those that take too long to log in are closed, silent ones are asked for a sign of
 * life, and those that do not give one are closed (RFC 6120 §4.6). One timer for all instead of one for each.
 */
export function sweep(connections: Set<Connection>, config: Config): () => void {
  const { limits, keepalive } = config;
  const silence = keepalive.ping_after_seconds * 1000;
  const patience = keepalive.ping_timeout_seconds * 1000;
  const login = limits.enabled ? limits.authentication_seconds * 1000 : Infinity;
  const timer = setInterval(() => {
    const now = Date.now();
    for (const connection of connections) {
      // Its last bytes are on their way, and that has a time of its own.
      if (connection.isClosing) continue;
      if (connection.bound === undefined) {
        if (!connection.relayed && now - connection.since > login) {
          count(counters.drops, 'authentication_timeout');
          connection.fail({ condition: 'connection-timeout', text: 'logging in took too long' });
        }
      } else if (silence > 0 && now - connection.lastHeard > silence) {
        if (!connection.probed) {
          connection.probed = true;
          connection.bound.probe();
        } else if (now - connection.lastHeard > silence + patience) {
          count(counters.drops, 'idle_timeout');
          connection.fail({ condition: 'connection-timeout', text: 'no sign of life' });
        }
      }
    }
  }, EVERY);
  timer.unref();
  return () => clearInterval(timer);
}
