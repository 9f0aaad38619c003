import { Bounded } from './bounded.js';
import { CHANNEL, type Bus } from './bus.js';

/** First byte of news after which the JID's holders look whether they still are: a JID has no such character. */
const LOOK = Buffer.of(0);

export interface NewsListener {
  /** The JID's entries changed. */
  changed(bare: string): void;
  /** And a session of it may have been replaced unheard. */
  look(bare: string): void;
}

/** Who is told of changes, and when they know. */
export class DirectoryNews {
  private readonly bounded = new Bounded();

  constructor(
    private readonly bus: Bus,
    private readonly listener: NewsListener,
  ) {
    bus.listen(CHANNEL.directory, (_from, body) => {
      const look = body[0] === LOOK[0];
      const bare = body.toString('utf8', look ? LOOK.length : 0);
      listener.changed(bare);
      if (look) listener.look(bare);
    });
  }

  /** To those who remember the JID's rows, or have one of them, as a script answered; says who they are. */
  tell(bare: string, rows: readonly Buffer[], watchers: readonly Buffer[]): number[] {
    const told = new Set<number>();
    for (const watcher of watchers) told.add(Number(String(watcher)));
    // It no longer watches.
    if (told.has(this.bus.self)) this.listener.changed(bare);
    for (let i = 1; i < rows.length; i += 2) told.add(Number.parseInt(String(rows[i])));
    const workers = [...told].filter((worker) => this.bus.peers.has(worker));
    const news = Buffer.from(bare);
    for (const worker of workers) this.bus.send(worker, CHANNEL.directory, news);
    return workers;
  }

  /** Resolves when they have heard all that they were told. */
  async heard(workers: readonly number[]): Promise<void> {
    if (workers.length > 0) await this.bounded.wait(this.bus.barrier(workers));
  }

  /** The list of those who have to know went down with an answer of Redis: everybody is told. */
  spread(bare: string, look: boolean): void {
    if (look) this.bus.broadcast(CHANNEL.directory, LOOK, Buffer.from(bare));
    else this.bus.broadcast(CHANNEL.directory, Buffer.from(bare));
  }
}
