import type { Addition, ItemPage, ItemQuery, ItemRecord, ItemStore } from '../store.js';
import type { MemoryItem, MemoryNode, MemoryNodes } from './nodes.js';

/** Items in memory. Payloads are copied on their way in; those handed out are the store's own and must not be changed. */
export class MemoryItems implements ItemStore {
  constructor(private readonly nodes: MemoryNodes) {}

  private node(name: string): MemoryNode | undefined {
    return this.nodes.nodes.get(name);
  }

  /** Items that have not expired, oldest first. */
  private there(name: string, notBefore = -Infinity): MemoryItem[] {
    return [...(this.node(name)?.items.values() ?? [])].filter(({ time }) => time >= notBefore);
  }

  async publish(name: string, item: ItemRecord, maxItems: number): Promise<boolean> {
    const node = this.node(name);
    if (node === undefined) return false;
    const { items } = node;
    const { id, publisher, published } = item;
    node.time = Math.max(node.time, published);
    items.delete(id);
    if (maxItems > 0)
      items.set(id, { record: { id, publisher, published, payload: Buffer.from(item.payload) }, time: node.time });
    for (const oldest of items.keys()) {
      if (items.size <= maxItems || items.size === 0) break;
      items.delete(oldest);
    }
    return true;
  }

  async add(name: string, item: ItemRecord, maxItems: number, notBefore?: number): Promise<Addition> {
    const there = this.there(name, notBefore);
    if (there.length >= maxItems && !there.some(({ record }) => record.id === item.id))
      return this.node(name) === undefined ? 'gone' : 'full';
    return (await this.publish(name, item, Infinity)) ? 'kept' : 'gone';
  }

  async retract(name: string, ids: readonly string[]): Promise<string[]> {
    const items = this.node(name)?.items;
    return items === undefined ? [] : ids.filter((id) => items.delete(id));
  }

  async purge(name: string): Promise<number> {
    const items = this.node(name)?.items;
    const count = items?.size ?? 0;
    items?.clear();
    return count;
  }

  async expire(name: string, notBefore: number): Promise<number> {
    const items = this.node(name)?.items;
    if (items === undefined) return 0;
    const before = items.size;
    for (const [id, { time }] of items) {
      if (time >= notBefore) break;
      items.delete(id);
    }
    return before - items.size;
  }

  async get(name: string, ids: readonly string[], notBefore = -Infinity): Promise<ItemRecord[]> {
    const found = ids.map((id) => this.node(name)?.items.get(id));
    return found.filter((item) => item !== undefined && item.time >= notBefore).map((item) => ({ ...item!.record }));
  }

  async latest(name: string, limit: number, notBefore?: number): Promise<ItemRecord[]> {
    const there = this.there(name, notBefore);
    return there
      .slice(Math.max(0, there.length - Math.max(0, limit)))
      .reverse()
      .map(record);
  }

  async count(name: string, notBefore?: number): Promise<number> {
    return this.there(name, notBefore).length;
  }

  async page(name: string, query: ItemQuery): Promise<ItemPage | undefined> {
    const { after, before } = query;
    const limit = Math.max(0, query.limit);
    const there = this.there(name, query.notBefore);
    const at = (id: string): number => there.findIndex((item) => item.record.id === id);
    let start = 0;
    let end = there.length;
    if (after !== undefined) {
      start = at(after) + 1;
      if (start === 0) return undefined;
    }
    if (before) {
      end = at(before);
      if (end < 0) return undefined;
    }
    if (before === undefined) end = Math.min(end, start + limit);
    else start = Math.max(start, end - limit);
    const items = there.slice(start, end).map(record);
    return { items, count: there.length, index: items.length === 0 ? 0 : start };
  }
}

function record(item: MemoryItem): ItemRecord {
  return { ...item.record };
}
