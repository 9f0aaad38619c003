import { setTimeout as wait } from 'node:timers/promises';
import { Device, message } from '../protocol/support/device.js';
import { publish } from '../protocol/support/pubsub.js';
import type { Address, RawClient } from '../support/client.js';

/** A device that finds nobody tries again after so many milliseconds. */
const RETRY_MS = 50;
/** And reads its sensor so often. */
const PACE_MS = 100;

/**
 * A device that publishes numbered items to a node of its own, sends a message with each to another, and whenever its stream ends
 * comes back and resumes its session (XEP-0198 §5). It has no other way: what is not resumed is written down in `lost`.
 */
export class Roamer {
  /** Items whose publish was answered with a result, in that order. */
  readonly acknowledged: string[] = [];
  readonly refused: string[] = [];
  readonly lost: string[] = [];
  resumed = 0;
  /** Items that it may publish by now. */
  private allowed = 0;
  private published = 0;
  private over = false;
  private publishing: Promise<void> = Promise.resolve();
  private living: Promise<void> = Promise.resolve();

  private constructor(
    readonly device: Device,
    private readonly front: Address,
    readonly user: string,
    readonly node: string,
  ) {
    device.heard = (stanza) => {
      const item = stanza.name === 'iq' ? /^p(\d+)$/.exec(stanza.attr('id') ?? '')?.[1] : undefined;
      if (item === undefined) return;
      (stanza.attr('type') === 'result' ? this.acknowledged : this.refused).push(item);
    };
    this.living = this.live();
  }

  static async login(front: Address, user: string, node: string): Promise<Roamer> {
    return new Roamer(await Device.login(front, { user, resource: 'r' }), front, user, node);
  }

  /** Publishes up to that many items in all, one after the other, and tells `friend` of each. */
  publish(items: number, friend: Roamer): void {
    this.allowed = items;
    this.publishing = this.publishing.then(async () => {
      while (this.published < this.allowed) {
        const item = String(this.published++);
        this.device.send(publish(this.node, item));
        this.device.send(message(friend.device.jid, item));
        await this.device.until(() => this.acknowledged.length + this.refused.length === this.published, item);
        await wait(PACE_MS);
      }
    });
  }

  /** All that it may publish was answered. */
  async done(): Promise<void> {
    await this.publishing;
  }

  private async live(): Promise<void> {
    while (!this.over) {
      await this.device.client.closed;
      if (this.over) return;
      this.device.cut();
      while (!(await this.comesBack())) await wait(RETRY_MS);
    }
  }

  /** False when there was nobody, or nobody any more. */
  private async comesBack(): Promise<boolean> {
    let client: RawClient | undefined;
    try {
      client = await Device.authenticated(this.front, { user: this.user });
      const answer = await this.device.resumeOn(client);
      if (answer.name === 'resumed') this.resumed++;
      else this.lost.push(answer.toString());
      return true;
    } catch {
      client?.cut();
      return false;
    }
  }

  async leave(): Promise<void> {
    this.over = true;
    if (this.device.attached) await this.device.leave();
    else this.device.client.cut();
    await this.living;
  }
}
