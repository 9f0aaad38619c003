import type { NodeRecord, NodeStore } from '../store/store.js';
import { Elsewhere } from './elsewhere.js';
import { NodeFacts, NodeState, type Policies } from './node.js';

/** Where a node's record comes from. */
type Read = (name: string) => Promise<NodeRecord | undefined>;

interface Load {
  promise: Promise<NodeState | undefined>;
  /** The facts changed while they were read: read again. */
  stale: boolean;
}

/** This worker's nodes: facts are read from the store on first use and kept until somebody changes them. */
export class Nodes {
  /** Of all nodes, also where there is no state. Written by the interest lists alone. */
  readonly elsewhere = new Elsewhere();
  private readonly states = new Map<string, NodeState>();
  private readonly loads = new Map<string, Load>();

  constructor(
    private readonly store: NodeStore,
    private readonly policies: Policies,
  ) {}

  get size(): number {
    return this.states.size;
  }

  all(): IterableIterator<NodeState> {
    return this.states.values();
  }

  /** What is known already; hot path. */
  peek(name: string): NodeState | undefined {
    return this.states.get(name);
  }

  /** The node's state, made when there is none; call {@link release} when nothing was put into it. */
  ensure(name: string): NodeState {
    let state = this.states.get(name);
    if (state === undefined) this.states.set(name, (state = new NodeState(name, this.elsewhere.of(name))));
    return state;
  }

  /** Forgets a state that holds nothing. */
  release(state: NodeState): void {
    if (state.idle && this.states.get(state.name) === state) this.states.delete(state.name);
  }

  /** The node with its facts, or undefined when there is no such node. `first`: what is asked before the store. */
  load(name: string, first?: Read): NodeState | undefined | Promise<NodeState | undefined> {
    const state = this.states.get(name);
    if (state?.facts !== undefined) return state;
    const running = this.loads.get(name);
    if (running !== undefined) return running.promise;
    const load: Load = { promise: undefined as never, stale: false };
    this.loads.set(name, load);
    load.promise = this.read(name, load, first).finally(() => this.loads.delete(name));
    return load.promise;
  }

  private async read(name: string, load: Load, first: Read | undefined): Promise<NodeState | undefined> {
    const stored: Read = (name) => this.store.get(name);
    let read = first ?? stored;
    let record: NodeRecord | undefined;
    do {
      load.stale = false;
      record = await read(name);
      read = stored;
    } while (load.stale);
    if (record === undefined) return undefined;
    const state = this.ensure(name);
    state.facts = new NodeFacts(record, this.policies.of(record.config));
    if (!state.facts.policy.keepsLast) state.last = undefined;
    return state;
  }

  /** All facts may be out of date. */
  doubt(): void {
    for (const load of this.loads.values()) load.stale = true;
    for (const state of this.states.values()) {
      state.facts = undefined;
      this.release(state);
    }
  }

  /** The node's facts are not what they were; `gone` when it was deleted. */
  invalidate(name: string, gone = false): void {
    const load = this.loads.get(name);
    if (load !== undefined) load.stale = true;
    const state = this.states.get(name);
    if (state === undefined) return;
    state.facts = undefined;
    if (gone) state.last = undefined;
    this.release(state);
  }
}
