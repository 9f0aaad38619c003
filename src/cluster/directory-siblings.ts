import { CHANNEL, SIBLING_MS, type Bus } from './bus.js';
import type { SessionEntry } from './directory.js';
import type { Held } from './directory-writer.js';

/** What a worker says of one of its sessions. */
type Answer = Pick<SessionEntry, 'resource' | 'id' | 'available' | 'priority'>;

/** The other workers of this host are asked for their sessions themselves when Redis cannot be. */
export class DirectorySiblings {
  constructor(
    private readonly bus: Pick<Bus, 'siblings' | 'request' | 'listen'>,
    held: (bare: string) => Iterable<Held>,
  ) {
    bus.listen(CHANNEL.siblings, (_from, body) => {
      const answers: Answer[] = [];
      for (const { entry, written } of held(body.toString())) {
        // One that is not bound yet may never be.
        if (written === undefined) continue;
        const { resource, id, available, priority } = entry;
        answers.push({ resource, id, available, priority });
      }
      return Buffer.from(JSON.stringify(answers));
    });
  }

  /** Their sessions of a bare JID, of all that answer in time. It does not reject. */
  async of(bare: string): Promise<SessionEntry[]> {
    const found = await Promise.all([...this.bus.siblings].map((peer) => this.ask(peer, bare)));
    return found.flat();
  }

  private async ask(worker: number, bare: string): Promise<SessionEntry[]> {
    try {
      const body = await this.bus.request(worker, CHANNEL.siblings, Buffer.from(bare), SIBLING_MS);
      return (JSON.parse(body.toString()) as Answer[]).map((answer) => ({ bare, worker, ...answer }));
    } catch {
      // It is gone, or busy: its sessions are as unknown as those of other hosts.
      return [];
    }
  }
}
