import type { BindOutcome, BindRules, Directory, Entries, SessionEntry } from './directory.js';

const NONE: Entries = [];

/** The directory of a pool of one: no other worker can hold anything. */
export class MemoryDirectory implements Directory {
  private readonly entries = new Map<string, SessionEntry>();

  bind(entry: SessionEntry, rules?: BindRules): BindOutcome {
    const key = `${entry.bare}/${entry.resource}`;
    const displaced = this.entries.get(key);
    if (rules !== undefined) {
      if (displaced !== undefined && !rules.replace) return 'taken';
      if (displaced === undefined && rules.room <= 0) return 'too-many';
    }
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

  update(entry: SessionEntry): undefined {
    const key = `${entry.bare}/${entry.resource}`;
    if (this.entries.get(key)?.id === entry.id) this.entries.set(key, entry);
  }

  unbind(entry: SessionEntry): void {
    const key = `${entry.bare}/${entry.resource}`;
    if (this.entries.get(key)?.id === entry.id) this.entries.delete(key);
  }

  remote(): Entries {
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
