import { setTimeout as pause } from 'node:timers/promises';
import { NS, RawClient, type Address } from '../support/client.js';
import type { Places } from './places.js';

/** A sensor reads so often, in milliseconds: the load lasts as long as the faults do. */
const PACE_MS = 50;

/** Publishes numbered items to a node of its own, each again and again until it is acknowledged; never the next before. */
export class Publisher {
  /** Items that were acknowledged: 1 to this. */
  acknowledged = 0;
  /** Items that were sent more than once: subscribers may hear of them more than once. */
  readonly repeated = new Set<number>();
  /** Requests that were answered with an error of type `wait`. */
  waits = 0;
  private client: RawClient | undefined;

  constructor(
    private readonly places: Places,
    readonly user: string,
    readonly node: string,
    private readonly acknowledgedOne: () => void,
  ) {}

  /** Where it publishes. */
  get at(): Address | undefined {
    return this.client?.address;
  }

  async run(items: number): Promise<void> {
    while (this.acknowledged < items) {
      const next = this.acknowledged + 1;
      try {
        this.client ??= await RawClient.login(this.places.anywhere(), { user: this.user });
        const answer = await this.client.iq('set', publish(this.node, next), `pubsub.${this.client.address.domain}`);
        if (answer.attr('type') === 'error') {
          const type = answer.child('error')?.attr('type');
          if (type !== 'wait') throw new Error(`${this.node}: item ${next} was refused: ${answer.toString()}`);
          this.waits++;
          this.repeated.add(next);
          continue;
        }
      } catch (error) {
        // The connection is gone, or nobody answers: elsewhere, the same item.
        if (String(error).includes('was refused')) throw error;
        this.client?.cut();
        this.client = undefined;
        this.repeated.add(next);
        await this.places.turn();
        continue;
      }
      this.acknowledged = next;
      this.acknowledgedOne();
      await pause(PACE_MS);
    }
    await this.client?.close().catch(() => undefined);
    this.client = undefined;
  }
}

function publish(node: string, item: number): string {
  return (
    `<pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item id='${item}'>` +
    `<reading xmlns='urn:example:chaos' value='${item}'/></item></publish></pubsub>`
  );
}
