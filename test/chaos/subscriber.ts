import { NS, RawClient, type XmlElement } from '../support/client.js';
import { Device } from '../protocol/support/device.js';
import type { Places } from './places.js';

/**
 * A dashboard that must not miss anything: it resumes its session wherever it can (XEP-0198 §5), and where its session is lost it fetches what it
 * missed from the nodes. What it accepts, it accepts once and in order; `faults` lists whatever the broker did wrong.
 */
export class Subscriber {
  readonly faults: string[] = [];
  resumed = 0;
  lost = 0;
  private readonly last = new Map<string, number>();
  /** Highest item of a node that this session fetched: notifications up to it may be on their way. */
  private readonly fetched = new Map<string, number>();
  private device: Device | undefined;
  private catching = false;
  private readonly early: [node: string, item: number][] = [];
  private over = false;

  constructor(
    private readonly places: Places,
    readonly user: string,
    private readonly nodes: readonly string[],
    private readonly progressed: () => void,
  ) {}

  /** The last item of the node that was accepted; all before were, too. */
  reached(node: string): number {
    return this.last.get(node) ?? 0;
  }

  /** Stays connected until {@link stop}. */
  async run(): Promise<void> {
    while (!this.over) {
      try {
        if (!(await this.resume())) await this.begin();
      } catch {
        this.device?.client.cut();
        // A session that could not fetch what it missed is not to be resumed: it would wait for that for ever.
        if (this.catching) this.device = undefined;
        await this.places.turn();
        continue;
      }
      await this.device!.client.closed;
    }
  }

  async stop(): Promise<void> {
    this.over = true;
    if (this.device?.attached) await this.device.leave().catch(() => undefined);
    this.device?.client.cut();
  }

  private async resume(): Promise<boolean> {
    const { device } = this;
    if (device === undefined || device.id === '') return false;
    const client = await Device.authenticated(this.places.anywhere(), { user: this.user });
    const answer = await device.resumeOn(client);
    if (answer.name === 'resumed') {
      this.resumed++;
      return true;
    }
    client.cut();
    this.device = undefined;
    this.lost++;
    return false;
  }

  /** A session of its own, and what was published while there was none. */
  private async begin(): Promise<void> {
    this.catching = true;
    this.early.length = 0;
    this.fetched.clear();
    const client = await RawClient.login(this.places.anywhere(), { user: this.user, resource: 'dashboard' });
    const device = await Device.over(client, { user: this.user, enable: "resume='true'" });
    this.device = device;
    device.heard = (stanza) => this.heard(stanza);
    device.send('<presence/>');
    await device.ping();
    for (const node of this.nodes) {
      const answer = await this.ask(device, `<pubsub xmlns='${NS.pubsub}'><items node='${node}'/></pubsub>`);
      const ids = answer
        .get('pubsub', 'items')
        .elements('item')
        .map((item) => Number(item.attr('id')));
      ids.sort((a, b) => a - b);
      for (const id of ids) if (id > this.reached(node)) this.accept(node, id, 'fetched');
      this.fetched.set(node, this.reached(node));
    }
    this.catching = false;
    for (const [node, item] of this.early.splice(0)) this.notified(node, item);
  }

  private async ask(device: Device, payload: string): Promise<XmlElement> {
    const id = `ask${Math.random()}`;
    device.send(`<iq type='get' id='${id}' to='pubsub.${device.address.domain}'>${payload}</iq>`);
    const found = (): XmlElement | undefined => device.handled.find((stanza) => stanza.attr('id') === id);
    await Promise.race([device.until(() => found() !== undefined), device.client.closed]);
    const answer = found();
    if (answer?.attr('type') !== 'result') throw new Error('not answered');
    return answer;
  }

  private heard(stanza: XmlElement): void {
    const items = stanza.name === 'message' ? stanza.child('event', NS.pubsubEvent)?.child('items') : undefined;
    for (const item of items?.elements('item') ?? []) {
      const node = items!.attr('node')!;
      const id = Number(item.attr('id'));
      if (this.catching) this.early.push([node, id]);
      else this.notified(node, id);
    }
  }

  private notified(node: string, item: number): void {
    if (item <= this.reached(node)) {
      // Fetched already, or published again by somebody who never saw the result.
      if (item <= (this.fetched.get(node) ?? 0) || this.places.repeated(node, item)) return;
      this.faults.push(`${this.user}: item ${item} of ${node} came twice (at ${this.reached(node)})`);
      return;
    }
    this.accept(node, item, 'notified');
  }

  private accept(node: string, item: number, how: string): void {
    const before = this.reached(node);
    if (item !== before + 1) this.faults.push(`${this.user}: item ${item} of ${node} was ${how} after ${before}`);
    this.last.set(node, item);
    this.progressed();
  }
}
