import type { Connection } from './connection.js';
import { faultOf } from './faults.js';
import type { Servers } from './servers.js';
import { slotOf } from './slot.js';

/** More slots than any server is without, if it has one. */
const TRIES = 1_000_000;

/**
 * Asks servers that refused something whether they would do it now, by a write that changes nothing: it is refused for every
 * reason for which others are.
 */
export class Probe {
  private readonly under = new Set<Connection>();

  constructor(
    private readonly prefix: string,
    private readonly servers: Servers,
    private readonly changed: () => void,
  ) {}

  probe(): void {
    void this.servers.refresh();
    for (const connection of this.servers.all())
      if (connection.usable && connection.fault !== undefined && !this.under.has(connection)) void this.ask(connection);
  }

  private async ask(connection: Connection): Promise<void> {
    this.under.add(connection);
    const key = this.keyAt(connection);
    let fault: string | undefined;
    if (key !== undefined)
      try {
        await connection.ask('SET', [key, '', 'XX']);
      } catch (error) {
        const found = faultOf(error as Error);
        fault = found.kind === 'wait' ? found.reason : undefined;
        if (found.kind === 'wait' && found.stale) this.servers.stale(connection);
      }
    this.under.delete(connection);
    if (connection.fault === fault) return;
    connection.fault = fault;
    this.changed();
  }

  /** A key that nobody ever sets, in a slot of that server. */
  private keyAt(connection: Connection): string | undefined {
    for (let i = 0; i < TRIES; i++) {
      const key = `${this.prefix}:probe:{${i}}`;
      if (this.servers.of(slotOf(key)) === connection) return key;
    }
    return undefined;
  }
}
