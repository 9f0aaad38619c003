import type { Config } from '../config/config.js';
import { count, counters } from '../metrics/counters.js';
import type { DropReason } from '../metrics/drops.js';
import { source } from './source.js';

/** Counts events per key in windows of fixed length; bounded, since each window starts empty. */
class Windowed {
  private counts = new Map<string, number>();
  private started = 0;

  constructor(private readonly milliseconds: number) {}

  /** Events of this window so far, for `key`. */
  of(key: string): number {
    this.turn();
    return this.counts.get(key) ?? 0;
  }

  add(key: string): void {
    this.turn();
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
  }

  private turn(): void {
    const now = Date.now();
    if (now - this.started < this.milliseconds) return;
    this.started = now;
    this.counts.clear();
  }
}

/** Who may connect, and how often an address may fail: the named limits of one worker. */
export class Gate {
  private total = 0;
  private readonly perAddress = new Map<string, number>();
  private readonly failures = new Windowed(60_000);
  private readonly requests = new Windowed(60_000);

  constructor(private readonly limits: Config['limits']) {}

  /** Takes a place for a connection of `address`; false when there is none left. */
  enter(address: string): boolean {
    if (this.limits.enabled) {
      const held = this.perAddress.get(source(address)) ?? 0;
      if (this.total >= this.limits.connections) return this.turnAway('connections');
      if (held >= this.limits.connections_per_address) return this.turnAway('connections_per_address');
    }
    this.join(address);
    return true;
  }

  /** Counts a connection in that another worker has let in. */
  join(address: string): void {
    this.total++;
    const from = source(address);
    this.perAddress.set(from, (this.perAddress.get(from) ?? 0) + 1);
  }

  leave(address: string): void {
    this.total--;
    const from = source(address);
    const held = (this.perAddress.get(from) ?? 1) - 1;
    if (held === 0) this.perAddress.delete(from);
    else this.perAddress.set(from, held);
  }

  /** False when the address failed too often in this minute to try once more. */
  mayAuthenticate(address: string): boolean {
    return !this.limits.enabled || this.failures.of(source(address)) < this.limits.failed_authentications_per_minute;
  }

  /** False when the address has asked for too much by plain HTTP in this minute. */
  mayRequest(address: string): boolean {
    if (!this.limits.enabled) return true;
    const from = source(address);
    if (this.requests.of(from) >= this.limits.http_requests_per_minute) {
      return this.turnAway('http_requests_per_minute');
    }
    this.requests.add(from);
    return true;
  }

  failed(address: string): void {
    this.failures.add(source(address));
  }

  private turnAway(limit: DropReason): false {
    count(counters.drops, limit);
    return false;
  }
}
