import type { ItemStore } from '../store/store.js';
import type { Cluster } from './cluster.js';
import { FrameReader, nameBytes } from './frames.js';
import type { NodeState } from './node.js';
import type { Nodes } from './nodes.js';

/** A published item as it is shown to late comers. */
export interface Published {
  id: string;
  publisher: string;
  /** Milliseconds since the epoch. */
  published: number;
  payload: Uint8Array;
}

/** Room is kept in steps of this many bytes, so that a payload of about the same size is written in place. */
const STEP = 64;

/** The last published item of each node (XEP-0060 §4.3, §12.10): the store's newest, or for nodes that do not persist one in memory. */
export class LastItems {
  constructor(
    private readonly items: ItemStore,
    private readonly nodes: Nodes,
    private readonly cluster: Cluster,
  ) {}

  /** Hot path, for nodes that keep their last item in memory: it is copied over the one before. */
  remember(node: NodeState, id: string, publisher: string, payload: Uint8Array): void {
    let { last } = node;
    if (last === undefined) {
      last = { id, publisher, published: 0, buffer: EMPTY, length: 0 };
      node.last = last;
    }
    last.id = id;
    last.publisher = publisher;
    last.published = Date.now();
    const { length } = payload;
    // Not from the shared pool: such a buffer lives long, and would keep eight kilobytes alive.
    if (last.buffer.length < length) last.buffer = Buffer.allocUnsafeSlow(Math.ceil(length / STEP) * STEP);
    last.buffer.set(payload, 0);
    last.length = length;
  }

  /** The last items of those nodes that have one; their facts must be known. */
  async of(states: readonly Pick<NodeState, 'name' | 'facts'>[]): Promise<Map<string, Published>> {
    const found = new Map<string, Published>();
    const inMemory: string[] = [];
    const now = Date.now();
    await Promise.all(
      states.map(async ({ name, facts }) => {
        if (facts === undefined) return;
        if (facts.policy.keepsLast) inMemory.push(name);
        if (!facts.policy.persist) return;
        const [newest] = await this.items.latest(name, 1, facts.policy.notBefore(now));
        if (newest !== undefined) found.set(name, newest);
      }),
    );
    if (inMemory.length > 0) await this.gather(inMemory, found, now);
    return found;
  }

  /** Of what this and the other workers remember, the newest. */
  private async gather(names: readonly string[], found: Map<string, Published>, now: number): Promise<void> {
    for (const name of names) {
      const last = this.nodes.peek(name)?.last;
      if (last === undefined) continue;
      const { id, publisher, published, buffer, length } = last;
      found.set(name, { id, publisher, published, payload: Buffer.from(buffer.subarray(0, length)) });
    }
    for (const list of await this.cluster.lastItems(names)) {
      for (const [name, item] of readList(list)) {
        const known = found.get(name);
        if (known === undefined || known.published < item.published) found.set(name, item);
      }
    }
    for (const name of names) {
      const limit = this.nodes.peek(name)?.facts?.policy.notBefore(now);
      if (limit !== undefined && (found.get(name)?.published ?? limit) < limit) found.delete(name);
    }
  }

  /** What this worker remembers of those nodes, for another one. */
  list(names: readonly string[]): Buffer {
    const parts: Buffer[] = [];
    for (const name of names) {
      const last = this.nodes.peek(name)?.last;
      if (last === undefined) continue;
      const numbers = Buffer.alloc(12);
      numbers.writeDoubleBE(last.published, 0);
      numbers.writeUInt32BE(last.length, 8);
      parts.push(nameBytes(name, last.id, last.publisher), numbers, last.buffer.subarray(0, last.length));
    }
    return Buffer.concat(parts);
  }
}

const EMPTY = Buffer.alloc(0);

function* readList(list: Buffer): Generator<[string, Published]> {
  const reader = new FrameReader(list);
  while (reader.more) {
    const name = reader.name();
    const id = reader.name();
    const publisher = reader.name();
    const published = reader.double();
    yield [name, { id, publisher, published, payload: Buffer.from(reader.block()) }];
  }
}
