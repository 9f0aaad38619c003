import { MemoryAccounts } from './memory/accounts.js';
import { MemoryItems } from './memory/items.js';
import { MemoryNodes } from './memory/nodes.js';
import type { Store } from './store.js';

/** A store that forgets everything with its process: for tests, and for trying things out. */
export class MemoryStore implements Store {
  readonly accounts = new MemoryAccounts();
  readonly nodes = new MemoryNodes();
  readonly items = new MemoryItems(this.nodes);

  flush(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
