import type { Store } from '../store.js';
import { LmdbAccounts } from './accounts.js';
import { Environment, type EnvironmentOptions } from './environment.js';
import { Collector } from './garbage.js';
import { LmdbItems } from './items.js';
import { LmdbNodes } from './nodes.js';
import { Writer } from './writer.js';

export interface LmdbOptions extends EnvironmentOptions {
  /** Acknowledge writes when they are committed (they survive the process) or when they are on disk. */
  durability: 'commit' | 'flush';
}

/** How long lmdb may take to close, in milliseconds. */
const CLOSE_MS = 1_000;

/** The embedded store: one LMDB environment, which any number of processes may have open. */
export class LmdbStore implements Store {
  readonly accounts: LmdbAccounts;
  readonly nodes: LmdbNodes;
  readonly items: LmdbItems;
  private readonly writer: Writer;
  private readonly collector: Collector;
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly environment: Environment,
    options: LmdbOptions,
  ) {
    this.writer = new Writer(environment, options.durability === 'flush');
    this.collector = new Collector(environment, this.writer);
    this.accounts = new LmdbAccounts(environment, this.writer);
    this.nodes = new LmdbNodes(environment, this.writer, this.collector);
    this.items = new LmdbItems(environment, this.writer, this.collector);
    if (!environment.readOnly) this.collector.start();
  }

  /** @throws StoreError with a sentence for the operator. */
  static open(options: LmdbOptions): LmdbStore {
    return new LmdbStore(Environment.open(options), options);
  }

  async flush(): Promise<void> {
    if (this.environment.readOnly) return;
    await this.writer.settled();
    await this.environment.sync();
  }

  hold(): Promise<void> {
    return this.writer.hold();
  }

  release(): void {
    this.writer.release();
  }

  close(): Promise<void> {
    return (this.closing ??= this.finish());
  }

  private async finish(): Promise<void> {
    await this.collector.stop();
    await this.writer.close();
    if (!this.environment.readOnly) await this.environment.sync();
    // Nothing is under way by now. After a commit that failed, as on a full disk, lmdb would wait for it for ever.
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSE_MS)));
    await Promise.race([this.environment.root.close(), patience]);
    clearTimeout(timer);
  }
}
