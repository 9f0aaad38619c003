import { MemoryStore } from '../../../src/store/memory.js';
import type { Store } from '../../../src/store/store.js';

export function memoryStore(): Store {
  return new MemoryStore();
}

/** A store that does its work in order, but takes its time with the answers: up to `turns` of the event loop. */
export function slowStore(pick: (choices: number) => number, turns = 6): Store {
  const store = new MemoryStore();
  const slow = <Table extends object>(table: Table): Table =>
    new Proxy(table, {
      get: (target, name) => {
        const method = Reflect.get(target, name) as unknown;
        if (typeof method !== 'function') return method;
        return async (...args: unknown[]) => {
          const answer: unknown = await method.apply(target, args);
          for (let left = pick(turns); left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
          return answer;
        };
      },
    });
  return Object.assign(Object.create(store) as Store, { nodes: slow(store.nodes), items: slow(store.items) });
}
