import type { Environment } from './environment.js';
import { idOf } from './item.js';
import { NUMBER, idKey, itemKey, number, part, startingWith } from './keys.js';
import type { Writer } from './writer.js';

const KINDS = ['items', 'subscriptions'] as const;
export type GarbageKind = (typeof KINDS)[number];

/** Entries wiped in one commit, so that no other write waits long. */
const WIPED_AT_ONCE = 256;
/** How long it takes until what could not be wiped is tried again, in milliseconds. */
const AGAIN_MS = 60_000;

export function garbageKey(kind: GarbageKind, incarnation: number): Buffer {
  return Buffer.concat([Buffer.of(KINDS.indexOf(kind)), number(incarnation)]);
}

/** Up to which sequence number (itself not) items are garbage. */
export function garbageLimit(seq: number): Buffer {
  return number(seq);
}

/**
 * Wipes what was removed with one small write: the items of a deleted or purged node, and the subscriptions. All of it is
 * invisible already. What a process leaves behind is found by the next one that starts.
 */
export class Collector {
  private running: Promise<void> | undefined;
  private stopped = false;
  private again: NodeJS.Timeout | undefined;

  constructor(
    private readonly environment: Environment,
    private readonly writer: Writer,
  ) {}

  /** There is, or may be, something to wipe. */
  start(): void {
    if (this.stopped) return;
    clearTimeout(this.again);
    this.running ??= this.run().finally(() => (this.running = undefined));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
    clearTimeout(this.again);
  }

  private async run(): Promise<void> {
    try {
      while (!this.stopped && (await this.writer.transact(() => this.wipe())));
    } catch {
      // The disk is full, or more is written than it takes: what is left is invisible, and can wait.
      this.again = setTimeout(() => this.start(), AGAIN_MS).unref();
    }
  }

  /** Wipes some; false when nothing was left. */
  private wipe(): boolean {
    const { garbage } = this.environment.tables;
    for (const { key, value } of garbage.getRange({ limit: 1 })) {
      const incarnation = key.readUIntBE(1, NUMBER);
      const wiped =
        KINDS[key[0] as number] === 'items'
          ? this.wipeItems(incarnation, value.readUIntBE(0, NUMBER))
          : this.wipeSubscriptions(incarnation);
      if (wiped < WIPED_AT_ONCE) void garbage.remove(key);
      return true;
    }
    return false;
  }

  private wipeItems(incarnation: number, limit: number): number {
    const { items, ids } = this.environment.tables;
    const range = { start: itemKey(incarnation, 0), end: itemKey(incarnation, limit), limit: WIPED_AT_ONCE };
    const found = [...items.getRange(range)];
    for (const { key, value } of found) {
      const id = idKey(incarnation, idOf(value));
      const seq = ids.getBinaryFast(id);
      // The id may have been published again.
      if (seq !== undefined && seq.readUIntBE(0, NUMBER) === key.readUIntBE(NUMBER, NUMBER)) void ids.remove(id);
      void items.remove(key);
    }
    return found.length;
  }

  private wipeSubscriptions(incarnation: number): number {
    const { subscriptions, subscribers } = this.environment.tables;
    const range = { ...startingWith(number(incarnation)), limit: WIPED_AT_ONCE };
    const found = [...subscriptions.getRange(range)];
    for (const { key, value } of found) {
      void subscribers.remove(Buffer.concat([part(value.bare), key]));
      void subscriptions.remove(key);
    }
    return found.length;
  }
}
