import { setTimeout as pause } from 'node:timers/promises';
import { type NodeRecord, type NodeStore, StoreError } from '../store/store.js';
import type { Cluster } from './cluster.js';
import type { NodeFacts } from './node.js';
import type { Nodes } from './nodes.js';
import { type NodeLimits, condense } from './options.js';

/** Before the store is asked again that could not answer, in milliseconds. */
const AGAIN_MS = 1_000;
const NOTHING = Buffer.alloc(0);

/**
 * What the workers of one host know of nodes that keep no items, told to each other while the store is away, so that publishes go on. It
 * counts until the store answers again: then it is read there.
 */
export class Hearsay {
  /** Facts that siblings told, by node. */
  private readonly told = new Map<string, NodeFacts>();
  private checking = false;
  private stopped = false;

  constructor(
    private readonly store: NodeStore,
    private readonly nodes: Nodes,
    private readonly cluster: Cluster,
    private readonly limits: NodeLimits,
  ) {}

  /**
   * The node's facts as other workers of this host know them, where the store could not tell.
   *
   * @throws `failure`, with which it did not, when that says more than that it is away, and when nobody knows
   */
  async facts(name: string, failure: unknown): Promise<NodeFacts> {
    if (!(failure instanceof StoreError) || failure.reason !== 'unavailable') throw failure;
    const state = await this.nodes.load(name, () => this.ask(name, failure));
    const facts = state?.facts;
    if (facts === undefined) throw failure;
    this.told.set(name, facts);
    if (!this.checking) void this.check();
    return facts;
  }

  private async ask(name: string, failure: StoreError): Promise<NodeRecord> {
    let newest: NodeRecord | undefined;
    for (const answer of await this.cluster.facts(name)) {
      if (answer.length === 0) continue;
      const record = JSON.parse(answer.toString()) as NodeRecord;
      if (newest === undefined || newer(record, newest)) newest = record;
    }
    if (newest === undefined) throw failure;
    return newest;
  }

  /** For another worker: the node's record, or nothing. Who publishes what is kept needs the store anyhow. */
  tell(name: string): Buffer {
    const facts = this.nodes.peek(name)?.facts;
    if (facts === undefined || facts.policy.persist) return NOTHING;
    const { creator, created, version, policy } = facts;
    const config = condense(policy.config, this.limits);
    const record: NodeRecord = {
      name,
      creator,
      created,
      version,
      config,
      affiliations: Object.fromEntries(facts.affiliations()),
    };
    return Buffer.from(JSON.stringify(record));
  }

  /** Whoever knows that the store is there again doubts everything; this also ends what began when the store was said to be there all the while. */
  private async check(): Promise<void> {
    this.checking = true;
    while (this.told.size > 0) {
      for (const name of this.told.keys()) {
        if (this.stopped) return;
        try {
          await this.store.get(name);
        } catch {
          await pause(AGAIN_MS, undefined, { ref: false });
          continue;
        }
        if (this.nodes.peek(name)?.facts === this.told.get(name)) this.nodes.invalidate(name);
        this.told.delete(name);
      }
    }
    this.checking = false;
  }

  stop(): void {
    this.stopped = true;
  }
}

/** A node that was deleted and made again counts its versions anew. */
function newer(one: NodeRecord, other: NodeRecord): boolean {
  return one.created === other.created ? one.version > other.version : one.created > other.created;
}
