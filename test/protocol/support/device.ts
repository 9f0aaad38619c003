import { NS, PASSWORD, RawClient, type Address, type LoginOptions, type XmlElement } from '../../support/client.js';

const PATIENCE_MS = 15_000;
const STANZAS = new Set(['iq', 'message', 'presence']);

/** How a device answers the server's `<r/>`: with what it handled, not at all, or with that share of what it has not told yet. */
export type Acknowledging = 'always' | 'never' | (() => number);

export interface DeviceOptions extends LoginOptions {
  acknowledging?: Acknowledging;
  /** What `<enable/>` asks for. */
  enable?: string;
}

/**
 * A device that keeps to XEP-0198 by the letter: it counts what it handles, keeps what it sent until that is acknowledged, and after a
 * cut resumes and sends the rest again. Everything that it handled stands in `handled`, in order, over all its connections.
 */
export class Device {
  client: RawClient;
  /** The stream management identifier. */
  id = '';
  /** Every stanza handled since `<enabled/>`. */
  readonly handled: XmlElement[] = [];
  /** The server's `<enabled/>`. */
  enabled!: XmlElement;
  acknowledging: Acknowledging;
  /** Hears of every stanza as it is handled. */
  heard: ((stanza: XmlElement) => void) | undefined;
  private readonly options: DeviceOptions;
  private listening = false;
  /** Sent and not acknowledged, oldest first. */
  private kept: string[] = [];
  /** Stanzas of ours that the server acknowledged. */
  private acknowledged = 0;
  /** The count that the server was told last. */
  private told = 0;
  private requests = 0;
  private cutAt = Infinity;
  private onCut: (() => void) | undefined;
  private readonly waiting = new Set<() => void>();

  private constructor(
    readonly address: Address,
    client: RawClient,
    options: DeviceOptions,
  ) {
    this.client = client;
    this.options = options;
    this.acknowledging = options.acknowledging ?? 'always';
  }

  /** Logs in and enables stream management, resumable unless `enable` says otherwise. */
  static async login(address: Address, options: DeviceOptions): Promise<Device> {
    return Device.over(await RawClient.login(address, { ...options, available: false }), options);
  }

  /** Enables stream management on a bound client. */
  static async over(client: RawClient, options: DeviceOptions): Promise<Device> {
    const device = new Device(client.address, client, options);
    device.watch(client);
    client.send(`<enable xmlns='${NS.sm}' ${options.enable ?? "resume='true'"}/>`);
    device.enabled = await client.expect({ name: 'enabled', ns: NS.sm });
    device.id = device.enabled.attr('id') ?? '';
    if (options.available) {
      device.send('<presence/>');
      await device.until(() => device.handled.some((stanza) => stanza.name === 'presence'));
    }
    return device;
  }

  get jid(): string {
    return this.client.jid;
  }

  get bareJid(): string {
    return this.client.bareJid;
  }

  /** Sends a stanza, and keeps it until it is acknowledged. While the device is cut it is only kept. */
  send(stanza: string): void {
    this.kept.push(stanza);
    if (this.listening) this.client.send(stanza);
  }

  /** Own stanzas that are not acknowledged. */
  get unacknowledged(): number {
    return this.kept.length;
  }

  /** A round trip: all that the server handled and sent before is here when it resolves. */
  async ping(): Promise<void> {
    const id = `ping${this.requests++}`;
    this.send(`<iq type='get' id='${id}' to='${this.address.domain}'><ping xmlns='urn:xmpp:ping'/></iq>`);
    await this.until(() => this.handled.some((stanza) => stanza.attr('id') === id), id);
  }

  /** Acknowledges all, or so many, of what was handled. */
  acknowledge(h = this.handled.length): void {
    this.told = h;
    this.client.send(`<a xmlns='${NS.sm}' h='${h}'/>`);
  }

  /** Asks the server for its `h`, unless the device is cut. */
  request(): void {
    if (this.listening) this.client.send(`<r xmlns='${NS.sm}'/>`);
  }

  /** The server's `h`. */
  async serverCount(): Promise<number> {
    this.request();
    return Number((await this.client.expect({ name: 'a', ns: NS.sm })).attr('h'));
  }

  /** It has a stream with its session on it. */
  get attached(): boolean {
    return this.listening;
  }

  /** Bodies of the messages handled, in order. */
  bodies(): string[] {
    return this.handled.flatMap((stanza) => (stanza.name === 'message' ? (stanza.child('body')?.text() ?? []) : []));
  }

  /** Ids of the items that notifications of a node brought, in order. */
  items(node: string): string[] {
    return this.handled.flatMap((stanza) => {
      const items = stanza.name === 'message' ? stanza.child('event')?.child('items') : undefined;
      return items?.attr('node') === node ? items.elements('item').map((item) => item.attr('id')!) : [];
    });
  }

  /** Resolves when that is so; looked at with every stanza and every acknowledgement. */
  until(test: () => boolean, what: string | (() => string) = test.toString()): Promise<void> {
    if (test()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!test()) return;
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve();
      };
      const timer = setTimeout(() => {
        this.waiting.delete(look);
        const last = this.handled.slice(-3).join('\n  ');
        const text = typeof what === 'string' ? what : what();
        reject(new Error(`${text} did not come true; ${this.handled.length} stanzas handled, last:\n  ${last}`));
      }, PATIENCE_MS);
      this.waiting.add(look);
    });
  }

  /** Leaves in order, having acknowledged all (XEP-0198 §4), so that nothing goes back to its sender. */
  async leave(): Promise<void> {
    this.acknowledge();
    await this.client.close();
  }

  /** Looks again at what {@link until} waits for, where that depends on others too. */
  look(): void {
    for (const look of [...this.waiting]) look();
  }

  /** Pulls the cable. What has not been handled by now never will be on this connection. */
  cut(): void {
    this.listening = false;
    this.cutAt = Infinity;
    this.client.cut();
  }

  /** The connection ends without the stream's end, and without losing what was written; resolves when the server has noticed. */
  async vanish(): Promise<void> {
    this.listening = false;
    this.client.socket.end();
    await this.client.closed;
  }

  /** Pulls the cable in the very moment in which so many more stanzas were handled; resolves then. */
  cutAfter(stanzas: number): Promise<void> {
    this.cutAt = this.handled.length + stanzas;
    return new Promise((resolve) => (this.onCut = resolve));
  }

  /** Connects and authenticates, and no more: ready for {@link resumeOn}. */
  static async authenticated(address: Address, options: LoginOptions): Promise<RawClient> {
    const client = await RawClient.connect(address, options);
    await client.open();
    if (options.via === 'starttls') await client.starttls();
    await client.authenticate('PLAIN', options.user, options.password ?? PASSWORD);
    return client;
  }

  /** Comes back on a connection of its own; fails the test when the server refuses. */
  async resume(options: Partial<LoginOptions> = {}): Promise<void> {
    const answer = await this.resumeOn(await Device.authenticated(this.address, { ...this.options, ...options }));
    if (answer.name !== 'resumed') throw new Error(`expected to be resumed, got ${answer.toString()}`);
  }

  /** Asks for the session on an authenticated connection; resolves to `<resumed/>` or `<failed/>`. */
  resumeOn(client: RawClient, h = this.handled.length): Promise<XmlElement> {
    const { jid } = this.client;
    this.listening = false;
    this.client.watcher = undefined;
    this.client = client;
    client.jid = jid;
    this.told = h;
    this.watch(client);
    client.send(`<resume xmlns='${NS.sm}' previd='${this.id}' h='${h}'/>`);
    return client.expect(
      (element) => element.ns === NS.sm && (element.name === 'resumed' || element.name === 'failed'),
    );
  }

  private watch(client: RawClient): void {
    client.watcher = (element) => {
      if (element.ns === NS.sm) this.managed(element);
      else if (this.listening && STANZAS.has(element.name)) this.handle(element);
      this.look();
    };
  }

  private managed(element: XmlElement): void {
    if (element.name === 'enabled') {
      this.listening = true;
    } else if (element.name === 'resumed') {
      this.listening = true;
      this.settle(Number(element.attr('h')));
      for (const stanza of this.kept) this.client.send(stanza);
    } else if (element.name === 'a' && this.listening) {
      this.settle(Number(element.attr('h')));
    } else if (element.name === 'r' && this.listening && this.acknowledging !== 'never') {
      const untold = this.handled.length - this.told;
      const share = this.acknowledging === 'always' ? 1 : this.acknowledging();
      this.acknowledge(this.told + Math.round(untold * share));
    }
  }

  private settle(h: number): void {
    const more = h - this.acknowledged;
    if (more < 0 || more > this.kept.length) {
      throw new Error(`the server says h=${h} after ${this.acknowledged}, with ${this.kept.length} stanzas kept`);
    }
    this.kept.splice(0, more);
    this.acknowledged = h;
  }

  private handle(stanza: XmlElement): void {
    this.handled.push(stanza);
    this.heard?.(stanza);
    if (this.handled.length < this.cutAt) return;
    this.cut();
    this.onCut?.();
  }
}

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `prefix0`, `prefix1`, … */
export function numbered(count: number, prefix = ''): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

export function message(to: string, body: string, attributes = "type='chat'"): string {
  return `<message to='${to}' ${attributes}><body>${body}</body></message>`;
}
