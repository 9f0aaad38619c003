import { setTimeout as pause } from 'node:timers/promises';
import { clusterCounters } from '../../metrics/cluster.js';
import { RedisUnavailable } from '../../redis/redis.js';
import { CHANNEL, MEET_MS, type Bus } from '../bus.js';
import { Cleaner } from './cleaner.js';
import { HostBus } from './host-bus.js';
import type { Hosts, HostsOptions, HostsStatus, Member } from './hosts.js';
import { Inbox } from './inbox.js';
import { inboxKey } from './keys.js';
import { Leases, NotAdmitted } from './leases.js';
import { Leftovers } from './leftovers.js';
import { BLOCK } from './numbers.js';
import { RedisBus } from './redis-bus.js';

/** An inbox outlives its owner's lease by that factor, at least by a minute, if nobody is left to remove it. */
const INBOX_LEASES = 6;
const INBOX_LEAST_MS = 60_000;
/** Before something that has to be done, and could not, is tried again. */
const AGAIN_MS = 1_000;

/** Of frames on {@link CHANNEL.hosts}: u8 kind, u32 worker, f64 epoch. */
const NEWS = { came: 1, dead: 2 } as const;
const NEWS_BYTES = 13;

/** Makes this worker one of many hosts' workers; it is registered by {@link Hosts.connect}. */
export function joinHosts(options: HostsOptions): Promise<Hosts> {
  return Promise.resolve(new Joined(options));
}

class Joined implements Hosts {
  readonly bus: Bus;
  private readonly remote: RedisBus;
  private readonly leases: Leases;
  private readonly cleaner: Cleaner;
  private readonly renewals: (() => Promise<void>)[] = [];
  private readonly tidied: (() => boolean)[] = [];
  private inbox: Inbox | undefined;
  private timer: NodeJS.Timeout | undefined;
  private state: 'new' | 'connected' | 'leaving' = 'new';
  private rejoining: Promise<void> | undefined;

  constructor(private readonly options: HostsOptions) {
    const { pool, redis, cluster, host, info, log } = options;
    const { number, slot, id } = pool;
    this.leases = new Leases(
      {
        redis,
        leaseMs: this.leaseMs,
        me: {
          number,
          host,
          advertise: cluster.advertise,
          pool: id,
          slot,
          pid: process.pid,
          version: info.version,
          started: Date.now(),
          draining: false,
        },
        lastNumber: Math.ceil(number / BLOCK) * BLOCK,
      },
      {
        changed: () => this.remote.update(this.leases.list.filter(({ pool }) => pool !== id)),
        lost: () => void (this.rejoining ??= this.rejoin().finally(() => (this.rejoining = undefined))),
        departed: (dead) => this.cleaner.offer(dead),
        failed: (error) => this.failed(error, 'the lease could not be renewed'),
      },
    );
    const leftovers = new Leftovers({
      redis,
      self: number,
      patienceMs: 2 * this.leaseMs,
      lives: (worker, epoch) => this.lives(worker, epoch),
      returned: (dead, kind, body) => this.remote.returned(dead, kind, body, false),
    });
    this.cleaner = new Cleaner(redis, this.leases, leftovers, log);
    this.remote = new RedisBus({
      redis,
      self: number,
      backlogBytes: options.backlogBytes,
      inboxEntries: cluster.inbox_entries,
      patienceMs: options.patienceMs,
      members: this.leases,
      log,
      onError: (error, channel) => log.error({ err: error }, `listener of bus channel ${channel}`),
    });
    this.bus = new HostBus(pool.bus, this.remote);
    this.bus.listen(CHANNEL.hosts, (_from, body) => this.heard(body));
    pool.onDeparted((dead) => this.poolDeparted(dead));
  }

  private get leaseMs(): number {
    return this.options.cluster.lease_seconds * 1000;
  }

  get epoch(): number {
    return this.leases.epoch;
  }

  members(): readonly Member[] {
    return this.leases.list;
  }

  lives(worker: number, epoch: number): boolean {
    return this.leases.members.get(worker)?.epoch === epoch;
  }

  onRenewed(fn: () => Promise<void>): void {
    this.renewals.push(fn);
  }

  onDeparted(fn: (worker: number, epoch: number) => Promise<void>): void {
    this.cleaner.steps.push(fn);
  }

  onLeave(fn: () => boolean): void {
    this.tidied.push(fn);
  }

  async connect(): Promise<void> {
    await this.options.pool.connect();
    const late = await this.register().catch(async (error: unknown) => {
      // Nobody knows of the inbox, so nobody would remove it.
      if (error instanceof NotAdmitted) await this.removeInbox();
      throw error;
    });
    this.state = 'connected';
    this.options.pool.bus.broadcast(CHANNEL.hosts, news(NEWS.came, this.bus.self, this.epoch));
    // Those whose lease has ended are dead, or must come again anyhow; others may be dead and nobody knows yet.
    const met = this.bus.barrier([...this.bus.peers].filter((peer) => !late.includes(peer)));
    const patience = new AbortController();
    // Whoever says nothing for as long as a lease is not there any more.
    const bound = pause(Math.min(this.leaseMs, MEET_MS), undefined, patience).catch(() => undefined);
    await Promise.race([met, bound]);
    patience.abort();
    this.timer = setInterval(() => void this.keep(), this.leaseMs / 3);
  }

  /** Registers, and hears what is sent to the new epoch from then on. Answers with those whose lease had ended. */
  private async register(): Promise<number[]> {
    const { redis } = this.options;
    const { inbox: former } = this;
    const { epoch: over } = this.remote;
    former?.close();
    const late = await this.leases.register(async (epoch) => {
      this.remote.epoch = epoch;
      this.inbox = new Inbox({
        redis,
        key: inboxKey(redis, this.bus.self, epoch),
        lifetimeMs: Math.max(INBOX_LEAST_MS, INBOX_LEASES * this.leaseMs),
        current: () => this.leases.current,
        renew: () => this.leases.renew(),
        handle: (fields) => this.remote.reception.receive(fields),
        rested: () => this.remote.reception.rested(),
        failed: (error) => this.failed(error, 'a batch could not be handled'),
      });
      await this.inbox.keep();
    });
    this.inbox!.start();
    if (former) this.removeFormer(former, over).catch(() => undefined);
    return late;
  }

  /** Unless others are at it: what was put there by some who are dead, too, is for them to see to. */
  private async removeFormer(inbox: Inbox, epoch: number): Promise<void> {
    if (!(await this.leases.isDeparted(`${this.bus.self}:${epoch}`))) await inbox.remove();
  }

  private async removeInbox(): Promise<void> {
    const { inbox } = this;
    this.inbox = undefined;
    await inbox?.remove();
  }

  /** Looks after the inbox, as long as the lease is renewed. */
  private async keep(): Promise<void> {
    try {
      if (this.state === 'connected' && !this.rejoining) await this.inbox?.keep();
    } catch (error) {
      this.failed(error, 'the inbox could not be looked after');
    }
  }

  /** Others took this worker for dead. It comes again, and its sessions stay. */
  private async rejoin(): Promise<void> {
    const { log } = this.options;
    do {
      log.warn({ epoch: this.epoch }, 'the lease was lost: this worker registers again');
      let over!: () => void;
      this.remote.leaveAll(this.leases.heldAt, new Promise((resolve) => (over = resolve)));
      await this.patiently('this worker could not register again', () => this.register());
      this.bus.broadcast(CHANNEL.hosts, news(NEWS.came, this.bus.self, this.epoch));
      for (const renewed of this.renewals) {
        await this.patiently('what is of this worker could not be written again', renewed);
      }
      over();
      // It may have been lost again over that.
    } while (this.state === 'connected' && !this.leases.held);
    log.info({ epoch: this.epoch }, 'this worker is registered again');
  }

  private async patiently(trouble: string, work: () => Promise<unknown>): Promise<void> {
    while (this.state === 'connected') {
      try {
        await work();
        return;
      } catch (error) {
        // Nobody handles this: the worker ends, and another begins.
        if (error instanceof NotAdmitted) throw error;
        this.failed(error, trouble);
        await pause(AGAIN_MS);
      }
    }
  }

  /** A worker of this pool is dead: nobody has to wait for its lease to end. */
  private async poolDeparted(worker: number): Promise<void> {
    try {
      const epoch = await this.leases.revoke(worker);
      if (epoch === undefined) return;
      this.leases.forget(worker, epoch);
      this.bus.broadcast(CHANNEL.hosts, news(NEWS.dead, worker, epoch));
      await this.cleaner.clean(`${worker}:${epoch}`);
    } catch (error) {
      // Its lease, or this worker's claim, ends by itself.
      this.failed(error, 'a dead worker of this pool was not cleaned up after');
    }
  }

  private heard(body: Buffer): void {
    if (body.length < NEWS_BYTES || this.state === 'new') return;
    const worker = body.readUInt32LE(1);
    const epoch = body.readDoubleLE(5);
    if (body[0] === NEWS.dead) this.leases.forget(worker, epoch);
    else if (!this.lives(worker, epoch)) this.leases.look(worker).catch(() => undefined);
  }

  private failed(error: unknown, what: string): void {
    // That Redis is away is said elsewhere.
    if (!(error instanceof RedisUnavailable)) this.options.log.error({ err: error }, what);
  }

  async announce(change: Partial<Pick<Member, 'advertise' | 'draining'>>): Promise<void> {
    await this.leases.announce(change);
  }

  async leave(): Promise<void> {
    if (this.state === 'leaving') return;
    const connected = this.state === 'connected';
    this.state = 'leaving';
    clearInterval(this.timer);
    await this.rejoining;
    this.cleaner.stop();
    await this.remote.close();
    if (connected) {
      const tidy = this.tidied.every((fn) => fn());
      const last = [this.leases.leave(tidy), this.removeInbox()];
      for (const outcome of await Promise.allSettled(last)) {
        if (outcome.status === 'rejected')
          this.failed(outcome.reason, 'this worker did not leave the cluster in order');
      }
    }
    this.leases.stop();
    clusterCounters.members = undefined;
  }

  status(): HostsStatus {
    return {
      epoch: this.epoch,
      leaseAge: performance.now() - clusterCounters.renewed,
      leaseSeconds: this.options.cluster.lease_seconds,
      peers: this.remote.status(),
    };
  }
}

function news(kind: number, worker: number, epoch: number): Buffer {
  const body = Buffer.allocUnsafe(NEWS_BYTES);
  body[0] = kind;
  body.writeUInt32LE(worker, 1);
  body.writeDoubleLE(epoch, 5);
  return body;
}
