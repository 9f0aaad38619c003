import type { Directory, SessionEntry } from './directory.js';

const NONE: readonly SessionEntry[] = [];

/** The directory of a pool of one: no other worker can hold anything. */
export class MemoryDirectory implements Directory {
  private readonly entries = new Map<string, SessionEntry>();

  bind(entry: SessionEntry): SessionEntry | undefined {
    const key = `${entry.bare}/${entry.resource}`;
    const displaced = this.entries.get(key);
    this.entries.set(key, entry);
    return displaced;
  }

  adopt(entry: SessionEntry): Promise<boolean> {
    const key = `${entry.bare}/${entry.resource}`;
    const found = this.entries.get(key);
    if (found !== undefined && found.id !== entry.id) return Promise.resolve(false);
    this.entries.set(key, entry);
    return Promise.resolve(true);
  }

  update(entry: SessionEntry): void {
    const key = `${entry.bare}/${entry.resource}`;
    if (this.entries.get(key)?.id === entry.id) this.entries.set(key, entry);
  }

  unbind(entry: SessionEntry): void {
    const key = `${entry.bare}/${entry.resource}`;
    if (this.entries.get(key)?.id === entry.id) this.entries.delete(key);
  }

  remote(): readonly SessionEntry[] {
    return NONE;
  }

  count(): number {
    return this.entries.size;
  }

  close(): Promise<void> {
    this.entries.clear();
    return Promise.resolve();
  }
}
