import {
  type Addition,
  type ItemPage,
  type ItemQuery,
  type ItemRecord,
  type ItemStore,
  type StoreError,
  WAITING_BYTES,
} from '../store.js';
import type { Arena } from './arena.js';
import { Changes } from './changes.js';
import type { Environment } from './environment.js';
import { read } from './errors.js';
import type { Collector } from './garbage.js';
import { Head } from './head.js';
import { decodeItem, encodeItem, itemRoom } from './item.js';
import { Window } from './window.js';
import type { Step, Writer } from './writer.js';

interface Publish {
  value: Buffer;
  resolve(found: boolean): void;
  reject(error: StoreError): void;
}

/** The publishes of one node, under one limit, in one commit. */
class PublishStep implements Step {
  readonly publishes: Publish[] = [];
  private found = false;

  constructor(
    private readonly store: LmdbItems,
    private readonly node: string,
    readonly maxItems: number,
    /** Others of the same node in the same commit must come before. */
    private readonly follows: boolean,
  ) {}

  attempt(arena: Arena): Promise<boolean> | undefined {
    if (this.follows) return undefined;
    const { store, node, maxItems } = this;
    const head = store.head(node);
    this.found = head !== undefined;
    if (head === undefined) return Promise.resolve(true);
    const { changes } = store;
    const { version } = head;
    changes.begin();
    if (changes.mustCut(maxItems)) return undefined;
    for (const { value } of this.publishes) if (!changes.publish(value, maxItems)) return undefined;
    return store.environment.tables.heads.ifVersion(node, version, () => changes.write(node, arena));
  }

  apply(arena: Arena): void {
    const { store, node, maxItems } = this;
    const head = store.head(node);
    this.found = head !== undefined;
    if (head === undefined) return;
    const { changes } = store;
    changes.begin();
    if (changes.mustCut(maxItems)) {
      changes.between(node, arena, () => changes.cut(Math.max(maxItems, 0)));
      store.collector.start();
    }
    for (const { value } of this.publishes) changes.publishAnyway(node, value, maxItems, arena);
    changes.write(node, arena);
  }

  /** One publish that is too large for the disk must not take the others down. */
  parts(): Step[] | undefined {
    if (this.publishes.length < 2) return undefined;
    return this.publishes.map((publish) => {
      const step = new PublishStep(this.store, this.node, this.maxItems, true);
      step.publishes.push(publish);
      return step;
    });
  }

  done(): void {
    for (const { resolve } of this.publishes) resolve(this.found);
  }

  fail(error: StoreError): void {
    for (const { reject } of this.publishes) reject(error);
  }
}

/** Items in LMDB; see head.ts for what makes them quick, and changes.ts for what a publish does. */
export class LmdbItems implements ItemStore {
  private readonly scratch = new Head();
  readonly changes: Changes;
  /** Steps that publishes may still join, by node. */
  private readonly steps = new Map<string, PublishStep>();
  private epoch = -1;

  constructor(
    readonly environment: Environment,
    private readonly writer: Writer,
    readonly collector: Collector,
  ) {
    this.changes = new Changes(environment, this.scratch);
  }

  /** The node's head as the current transaction sees it, valid until the next call; undefined when there is no such node. */
  head(node: string): Head | undefined {
    const { heads } = this.environment.tables;
    const bytes = heads.getBinaryFast(node);
    return bytes && this.scratch.load(bytes, bytes.length);
  }

  publish(node: string, item: ItemRecord, maxItems: number): Promise<boolean> {
    const { writer } = this;
    const refusal = writer.refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const { arena } = writer;
    const room = itemRoom(item);
    const memory = arena.room(room);
    const value = arena.take(memory, encodeItem(item, memory, arena.offset));
    writer.charge(room + WAITING_BYTES);
    if (this.epoch !== writer.epoch) {
      this.epoch = writer.epoch;
      this.steps.clear();
    }
    let step = this.steps.get(node);
    if (step === undefined || step.maxItems !== maxItems) {
      step = new PublishStep(this, node, maxItems, step !== undefined);
      this.steps.set(node, step);
      writer.add(step);
    }
    const { publishes } = step;
    return new Promise((resolve, reject) => publishes.push({ value, resolve, reject }));
  }

  add(node: string, item: ItemRecord, maxItems: number, notBefore?: number): Promise<Addition> {
    const value = Buffer.allocUnsafeSlow(itemRoom(item));
    const end = encodeItem(item, value, 0);
    const work = (head: Head): { result: Addition; changed: boolean } => {
      const window = new Window(this.environment, head, notBefore);
      if (window.count >= maxItems && window.find(item.id) < 0) return { result: 'full', changed: false };
      this.changes.publishAnyway(node, value.subarray(0, end), Infinity, this.writer.arena);
      return { result: 'kept', changed: true };
    };
    return this.change(node, 'gone', work, value.length + WAITING_BYTES);
  }

  retract(node: string, ids: readonly string[]): Promise<string[]> {
    return this.change(node, [], () => {
      const { changes } = this;
      const retracted = ids.filter((id) => changes.retract(Buffer.from(id)));
      return { result: retracted, changed: retracted.length > 0 };
    });
  }

  purge(node: string): Promise<number> {
    return this.change(node, 0, (head) => {
      const { count } = head;
      if (count > 0) {
        this.changes.purge();
        this.collector.start();
      }
      return { result: count, changed: count > 0 };
    });
  }

  expire(node: string, notBefore: number): Promise<number> {
    return this.change(node, 0, (head) => {
      const { changes } = this;
      const window = new Window(this.environment, head, notBefore);
      const expired = head.count - window.count;
      if (head.indexed && expired > 0) {
        changes.raiseFloor(window.start, window.count);
        this.collector.start();
      } else for (let i = 0; i < expired; i++) changes.dropOldest();
      return { result: expired, changed: expired > 0 };
    });
  }

  /** Changes a node's items inside a write transaction, which holds that many bytes of memory until then. */
  private change<T>(
    node: string,
    missing: T,
    work: (head: Head) => { result: T; changed: boolean },
    bytes?: number,
  ): Promise<T> {
    const { writer, changes } = this;
    return writer.transact(() => {
      const head = this.head(node);
      if (head === undefined) return missing;
      changes.begin();
      const { result, changed } = work(head);
      if (changed) changes.write(node, writer.arena);
      return result;
    }, bytes);
  }

  get(node: string, ids: readonly string[], notBefore?: number): Promise<ItemRecord[]> {
    return this.read(node, [], notBefore, (window) => {
      const found: ItemRecord[] = [];
      for (const id of ids) {
        const at = window.find(id);
        if (at >= 0) found.push(...window.slice(at, at + 1, 1, false).map(decodeItem));
      }
      return found;
    });
  }

  latest(node: string, limit: number, notBefore?: number): Promise<ItemRecord[]> {
    return this.read(node, [], notBefore, (window) =>
      window.slice(window.start, window.end, limit, true).map(decodeItem),
    );
  }

  count(node: string, notBefore?: number): Promise<number> {
    return this.read(node, 0, notBefore, (window) => window.count);
  }

  page(node: string, query: ItemQuery): Promise<ItemPage | undefined> {
    const { limit, after, before, notBefore } = query;
    const missing: ItemPage | undefined = after !== undefined || before ? undefined : { items: [], count: 0, index: 0 };
    return this.read(node, missing, notBefore, (window) => {
      let { start, end } = window;
      if (after !== undefined) {
        start = window.find(after) + 1;
        if (start === 0) return undefined;
      }
      if (before) {
        end = window.find(before);
        if (end < 0) return undefined;
      }
      const backwards = before !== undefined;
      const values = window.slice(start, end, limit, backwards);
      if (backwards) values.reverse();
      const index = values.length === 0 ? 0 : window.rank(window.first);
      return { items: values.map(decodeItem), count: window.count, index };
    });
  }

  private read<T>(node: string, missing: T, notBefore: number | undefined, work: (window: Window) => T): Promise<T> {
    return read(this.environment, () => {
      const head = this.head(node);
      return head === undefined ? missing : work(new Window(this.environment, head, notBefore));
    });
  }
}
