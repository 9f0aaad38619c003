import { Connection, type ConnectionEvents } from './connection.js';
import { SLOTS } from './slot.js';
import { type Address, type Settings, addressOf, written } from './settings.js';

/** The servers that keys are on. */
export interface Servers {
  /** The one that serves a slot; undefined while nobody is known to. */
  of(slot: number): Connection | undefined;
  at(address: string, from?: Connection): Connection;
  /** Every master. */
  all(): readonly Connection[];
  /** Every slot is served by somebody. */
  readonly covered: boolean;
  /** A server says that a slot is elsewhere now. */
  moved(slot: number, address: string, from: Connection): void;
  /** A server says that it is not the one to ask any more, or does not answer. */
  stale(connection: Connection): void;
  /** Looks again who serves what. */
  refresh(): Promise<void>;
  close(): void;
}

/** One server, or the master that the Sentinels know. */
export class OneServer implements Servers {
  readonly covered = true;
  private readonly connection: Connection;
  private readonly connections: readonly Connection[];

  constructor(settings: Settings, events: ConnectionEvents) {
    const address = settings.kind === 'sentinel' ? undefined : settings.addresses[0]!;
    this.connection = new Connection(settings, address, events);
    this.connections = [this.connection];
  }

  of(): Connection {
    return this.connection;
  }

  at(): Connection {
    return this.connection;
  }

  all(): readonly Connection[] {
    return this.connections;
  }

  moved(): void {}

  stale(connection: Connection): void {
    connection.renew();
  }

  refresh(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.connection.close();
  }
}

/** The masters of a Redis Cluster. */
export class ClusterServers implements Servers {
  covered = false;
  private readonly connections = new Map<string, Connection>();
  private readonly slots: (Connection | undefined)[] = new Array<undefined>(SLOTS).fill(undefined);
  /** Every node that was ever heard of in the last table, replicas too: whom to ask. */
  private known: Address[];
  /** Asked for by their address since the last table: one that takes over a slot has none of its own yet. */
  private readonly guests = new Set<Connection>();
  private refreshing: Promise<void> | undefined;
  /** Who is asked next. */
  private turn = 0;
  private closed = false;

  constructor(
    private readonly settings: Settings,
    private readonly events: ConnectionEvents & { arranged(): void },
  ) {
    this.known = settings.addresses;
  }

  of(slot: number): Connection | undefined {
    return this.slots[slot];
  }

  /** An address without a host means the host of the one that gave it. */
  at(address: string, from?: Connection): Connection {
    const at = address.lastIndexOf(':');
    const host = at > 0 ? address.slice(0, at) : from!.address.slice(0, from!.address.lastIndexOf(':'));
    const connection = this.connect({ host: host.replace(/^\[|\]$/g, ''), port: Number(address.slice(at + 1)) });
    this.guests.add(connection);
    return connection;
  }

  private connect(address: Address): Connection {
    const key = written(address);
    let connection = this.connections.get(key);
    if (connection === undefined) {
      connection = new Connection(this.settings, address, this.events);
      this.connections.set(key, connection);
    }
    return connection;
  }

  all(): readonly Connection[] {
    return [...this.connections.values()];
  }

  moved(slot: number, address: string, from: Connection): void {
    this.slots[slot] = this.at(address, from);
    void this.refresh();
  }

  stale(): void {
    void this.refresh();
  }

  refresh(): Promise<void> {
    if (this.closed) return Promise.resolve();
    return (this.refreshing ??= this.look().finally(() => (this.refreshing = undefined)));
  }

  private async look(): Promise<void> {
    const standing = this.all().filter(({ usable }) => usable);
    // Those that say nothing is wrong with them know best.
    const sound = standing.filter(({ fault }) => fault === undefined);
    const asked = sound.length > 0 ? sound : standing;
    if (asked.length > 0) {
      const one = asked[this.turn++ % asked.length]!;
      const table = await one.ask('CLUSTER', ['SLOTS']).catch(() => undefined);
      if (table !== undefined) this.arrange(table as SlotRange[], one);
      return;
    }
    // A connection to somebody, who then shows the others.
    this.connect(this.known[this.turn++ % this.known.length]!);
  }

  private arrange(table: SlotRange[], from: Connection): void {
    if (this.closed || table.length === 0) return;
    const masters = new Set<Connection>();
    const slots = new Array<Connection | undefined>(SLOTS).fill(undefined);
    const known = new Map<string, Address>();
    for (const [first, last, ...nodes] of table) {
      const addresses = nodes.map((node) => this.addressOf(node, from));
      for (const address of addresses) known.set(written(address), address);
      if (addresses[0] === undefined) continue;
      const master = this.connect(addresses[0]);
      masters.add(master);
      slots.fill(master, first, last + 1);
    }
    for (let slot = 0; slot < SLOTS; slot++) this.slots[slot] = slots[slot];
    this.covered = !slots.includes(undefined);
    this.known = [...known.values(), ...this.settings.addresses.filter((address) => !known.has(written(address)))];
    for (const [key, connection] of this.connections) {
      if (masters.has(connection) || this.guests.has(connection)) continue;
      this.connections.delete(key);
      connection.close();
    }
    this.guests.clear();
    this.events.arranged();
  }

  /** What the node wants to be called by; where it does not say, as the one that was asked. */
  private addressOf([host, port]: SlotNode, from: Connection): Address {
    const name = host === null ? '' : String(host);
    if (name !== '' && name !== '?') return { host: name, port };
    return { host: addressOf('redis.nodes', from.address).host, port };
  }

  close(): void {
    this.closed = true;
    for (const connection of this.connections.values()) connection.close();
    this.connections.clear();
  }
}

type SlotNode = [host: Buffer | null, port: number, ...rest: unknown[]];
/** An entry of CLUSTER SLOTS: the master comes first. */
type SlotRange = [first: number, last: number, ...nodes: SlotNode[]];
