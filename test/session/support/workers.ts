import { pino } from 'pino';
import { CHANNEL, type Bus } from '../../../src/cluster/bus.js';
import type { BindOutcome, Directory, Entries, SessionEntry } from '../../../src/cluster/directory.js';
import { defaults } from '../../../src/config/config.js';
import { JidCache, parseJid, type Jid } from '../../../src/jid/jid.js';
import { PubSub } from '../../../src/pubsub/pubsub.js';
import { bindSession, listenForKicks } from '../../../src/session/bind.js';
import type { SessionContext } from '../../../src/session/context.js';
import { StreamManagement } from '../../../src/session/management.js';
import { Moving } from '../../../src/session/moving/moving.js';
import { Registry } from '../../../src/session/registry.js';
import { Router } from '../../../src/session/router.js';
import { Session } from '../../../src/session/session.js';
import { Succession } from '../../../src/session/succession.js';
import type { Connection } from '../../../src/stream/connection.js';
import { Outbox, Shared, whole } from '../../../src/stream/outbox.js';
import { TYPE } from '../../../src/xml/envelope.js';
import type { Scanner } from '../../../src/xml/scanner.js';
import { TreeBuilder } from '../../../src/xml/tree.js';
import { Hub, type TestBus } from '../../pubsub/support/bus.js';
import { slowStore } from '../../pubsub/support/store.js';

export const HOST = 'pubsub.localhost';
const tree = await TreeBuilder.create();
const LIMIT = 1024 * 1024 * 1024;

/** A directory in one table, that each worker remembers until it is told of a change, and sometimes takes its time to look into. */
class SharedDirectory implements Directory {
  private readonly known = new Map<string, { entries: Entries; news: number }>();
  private news = 0;

  constructor(
    private readonly bus: Bus,
    private readonly rows: Map<string, SessionEntry>,
    private readonly pick: (choices: number) => number,
    private readonly lives: () => boolean,
  ) {
    bus.listen(CHANNEL.directory, (_from, body) => {
      this.news++;
      this.known.delete(body.toString());
    });
  }

  async bind(entry: SessionEntry): Promise<BindOutcome> {
    await this.pause();
    const displaced = this.rows.get(keyOf(entry));
    this.rows.set(keyOf(entry), entry);
    await this.tell(entry);
    return displaced;
  }

  async adopt(entry: SessionEntry): Promise<boolean> {
    await this.pause();
    const found = this.rows.get(keyOf(entry));
    if (found !== undefined && found.id !== entry.id) return false;
    this.rows.set(keyOf(entry), entry);
    await this.tell(entry);
    return true;
  }

  update(entry: SessionEntry): undefined {
    if (this.isOurs(entry) && this.lives()) this.rows.set(keyOf(entry), entry);
    void this.tell(entry);
  }

  unbind(entry: SessionEntry): void {
    if (this.isOurs(entry) && this.lives()) this.rows.delete(keyOf(entry));
    void this.tell(entry);
  }

  remote(bare: string): Entries | Promise<Entries> {
    const known = this.known.get(bare);
    return known !== undefined ? known.entries : this.pick(3) > 0 ? this.read(bare) : this.look(bare);
  }

  /** What was read before news came is read again. */
  private async look(bare: string): Promise<Entries> {
    for (;;) {
      const { news } = this;
      const entries = this.read(bare);
      await this.pause();
      if (news === this.news) return entries;
    }
  }

  private read(bare: string): Entries {
    const entries = [...this.rows.values()].filter((row) => row.bare === bare && row.worker !== this.bus.self);
    this.known.set(bare, { entries, news: this.news });
    return entries;
  }

  count(): number {
    return this.rows.size;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private isOurs(entry: SessionEntry): boolean {
    const found = this.rows.get(keyOf(entry));
    return found?.id === entry.id && found.worker === this.bus.self;
  }

  private tell({ bare }: SessionEntry): Promise<void> {
    this.news++;
    this.known.delete(bare);
    this.bus.broadcast(CHANNEL.directory, Buffer.from(bare));
    return this.bus.barrier();
  }

  private async pause(): Promise<void> {
    for (let left = this.pick(5); left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
    // A dead worker goes no further.
    if (!this.lives()) await new Promise(() => undefined);
  }
}

const keyOf = ({ bare, resource }: SessionEntry): string => `${bare}/${resource}`;

export interface TestWorker {
  bus: TestBus;
  context: SessionContext;
  moving: Moving;
  pubsub: PubSub;
}

/** Workers as they are but for sockets: what they say to each other arrives in any order that the bus allows. */
export class Workers {
  readonly all: TestWorker[] = [];
  readonly rows = new Map<string, SessionEntry>();
  readonly hub: Hub;

  constructor(
    count: number,
    private readonly pick: (choices: number) => number,
    /** Which of the ways between workers is next. */
    arrive: (choices: number) => number,
  ) {
    this.hub = new Hub(arrive);
    const store = slowStore(pick);
    for (let i = 0; i < count; i++) this.all.push(this.start(store));
  }

  private start(store: ReturnType<typeof slowStore>): TestWorker {
    const bus = this.hub.join();
    const config = defaults();
    config.limits.enabled = false;
    config.limits.outbox_bytes = LIMIT;
    const log = pino({ level: process.env.TEST_LOG ?? 'silent' });
    const base: Omit<SessionContext, 'router' | 'succession'> = {
      config,
      log,
      scanner: undefined as unknown as Scanner,
      tree,
      jids: new JidCache(1000),
      bus,
      directory: new SharedDirectory(bus, this.rows, this.pick, () => this.hub.buses.includes(bus)),
      registry: new Registry(),
      services: new Map(),
      watchers: [],
      handler: () => undefined,
      isAdmin: () => false,
    };
    const router = new Router(base);
    listenForKicks(base as SessionContext);
    const succession = new Succession({ bus, registry: base.registry, router, jids: base.jids });
    const context: SessionContext = { ...base, router, succession };
    const pubsub = new PubSub({ host: HOST, config, store, bus, router, log });
    context.watchers.push(succession, pubsub);
    return { bus, context, moving: new Moving(context), pubsub };
  }

  /** An available session without a connection, that may be resumed. */
  async session(worker: TestWorker, full: string): Promise<Session> {
    const { context, bus, pubsub } = worker;
    const outbox = new Outbox(LIMIT, 'drop_oldest', () => undefined);
    const id = `${bus.self}.${full}`;
    const session = new Session(context, parseJid(full)!, id, { outbox, lang: '' });
    session.sm = new StreamManagement(id, 1000);
    outbox.keepUntilAcknowledged(50);
    session.available = true;
    session.presence = new Shared(Buffer.from(`<presence from='${full}'/>`));
    context.registry.add(session);
    context.registry.resumable(session);
    await context.directory.bind(session.entry());
    await pubsub.sessionBound(session);
    session.wait(1_000_000);
    return session;
  }

  /** A new session takes a resource as clients do it, and is available a little later. */
  async bind({ context }: TestWorker, full: string): Promise<Session> {
    const outbox = new Outbox(LIMIT, 'drop_oldest', () => undefined);
    const { local, resource } = parseJid(full)!;
    const connection = { outbox, lang: '', transport: undefined } as unknown as Connection;
    const session = (await bindSession(context, connection, local, resource)) as Session;
    for (let left = this.pick(20); left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
    outbox.keepUntilAcknowledged(50);
    session.available = true;
    void context.directory.update(session.entry());
    for (const watcher of context.watchers) watcher.sessionAvailable?.(session);
    return session;
  }

  /** The workers that have a session of that full JID. */
  holders(full: string): TestWorker[] {
    return this.all.filter(({ context }) => context.registry.full(full) !== undefined);
  }

  kill(worker: TestWorker): void {
    this.hub.kill(worker.bus);
    this.all.splice(this.all.indexOf(worker), 1);
    for (const [key, row] of this.rows) if (row.worker === worker.bus.self) this.rows.delete(key);
  }

  /** Resolves when nothing is under way. */
  async quiet(): Promise<void> {
    for (let i = 0; i < 10; i++) {
      for (const { pubsub, bus } of this.all) {
        await pubsub.stop();
        await bus.barrier();
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }
}

/** Who sends numbered messages and publishes numbered items, to and for one session, at one worker. */
export class Sender {
  sent = 0;
  /** What could not be sent. */
  readonly refused: string[] = [];

  private constructor(
    private readonly worker: TestWorker,
    readonly name: string,
    private readonly session: Session,
    private readonly to: Jid,
  ) {}

  static async make(workers: Workers, worker: TestWorker, name: string, to: Jid): Promise<Sender> {
    return new Sender(worker, name, await workers.session(worker, `${name}@localhost/x`), to);
  }

  /** Numbers of its messages that came back, or could not be sent. */
  errors(form: string): number[] {
    const { outbox } = this.session;
    const back = [...this.refused];
    for (let at = outbox.first; at !== outbox.next; at++) {
      const entry = outbox.at(at);
      if (entry !== undefined) back.push(whole(entry).bytes.toString());
    }
    return back.flatMap((xml) => new RegExp(`id='${form} (\\d+)'`).exec(xml)?.[1] ?? []).map(Number);
  }

  /** One message to the full JID, one to the bare one, and one item for each node. */
  async send(nodes: readonly string[]): Promise<void> {
    const number = this.sent++;
    for (const to of [this.to, this.to.bareJid()]) {
      const form = to.resource === '' ? 'bare' : 'full';
      const from = this.session.jid.full;
      const body = `${form} ${this.name} ${number}`;
      const xml = `<message from='${from}' to='${to.full}' type='chat' id='${form} ${number}'><body>${body}</body></message>`;
      const refused = await this.worker.context.router.message(to, TYPE.chat, new Shared(Buffer.from(xml)), from);
      if (refused !== undefined) this.refused.push(`id='${form} ${number}'`);
    }
    for (const node of nodes) {
      const payload = Buffer.from(`<v xmlns='urn:x'>${this.name} ${number}</v>`);
      const hot = { id: `${number}`, node, itemId: `${this.name} ${number}`, payload };
      if (this.worker.pubsub.publish(this.session, hot)) continue;
      const item = `<item id='${this.name} ${number}'>${payload.toString()}</item>`;
      await ask(this.worker, this.session, `<publish node='${node}'>${item}</publish>`);
    }
  }
}

/** A request to the pub-sub service, to succeed. */
export async function ask({ pubsub }: TestWorker, session: Session, content: string): Promise<void> {
  const payload = tree.parse(Buffer.from(`<pubsub xmlns='http://jabber.org/protocol/pubsub'>${content}</pubsub>`), {
    '': 'jabber:client',
  });
  const answer = await pubsub.handleIq({
    type: 'set',
    id: 'iq',
    from: session.jid,
    to: parseJid(HOST),
    payload,
    lang: undefined,
    session,
  });
  if (answer !== undefined && 'condition' in answer) throw new Error(`${content}: ${answer.condition}`);
}
