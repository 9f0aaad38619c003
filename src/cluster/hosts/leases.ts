import { migrating, migrationKey } from '../../redis/keyspace.js';
import type { Redis, Script } from '../../redis/redis.js';
import { clusterCounters } from '../../metrics/cluster.js';
import { DIALECT } from './envelope.js';
import type { Member } from './hosts.js';
import { keys } from './keys.js';
import { ANNOUNCE, CLAIM, LEAVE, REGISTER, RENEW, REVOKE, TAKE_EPOCH } from './lease-scripts.js';

/** So many dead are remembered. */
const DEAD_MOST = 10_000;

export interface LeaseOptions {
  redis: Redis;
  leaseMs: number;
  /** This worker; its epoch is taken when it registers. */
  me: Omit<Member, 'epoch'>;
  /** The last of the numbers that its host has. */
  lastNumber: number;
}

export interface LeaseEvents {
  /** Workers came or went. */
  changed(): void;
  /** Others took this worker for dead: it has to register again. */
  lost(): void;
  /** These (`worker:epoch`) wait to be cleaned up after. */
  departed(dead: string[]): void;
  failed(error: unknown): void;
}

/**
 * This worker cannot be one of the cluster: Redis had lost its memory, and another got this one's number; or others live that speak
 * another {@link DIALECT}; or a migration is under way.
 */
export class NotAdmitted extends Error {}

/** Hosts and versions of those that speak another dialect, and what to do. */
function foreign(me: Omit<Member, 'epoch'>, workers: Buffer[]): string {
  const members = workers.map((bytes) => JSON.parse(bytes.toString()) as Member).filter(({ pool }) => pool !== me.pool);
  const hosts = new Set(members.map(({ host, version }) => `${host} (${version})`));
  return (
    `this host's Thrum ${me.version} and that of the hosts that run cannot work side by side: ${[...hosts].sort().join(', ')}; ` +
    'stop all of them, then start them with this version'
  );
}

/** This worker's lease, and what it knows of the others'. */
export class Leases {
  epoch = 0;
  /** `worker:epoch` of those that this worker cleans up after; kept with every renewal. */
  readonly claims = new Set<string>();
  /** By number. */
  members: ReadonlyMap<number, Member> = new Map();
  list: readonly Member[] = [];
  private readonly keys: string[];
  private readonly parsed = new Map<string, Member>();
  /** The last epoch of each worker that is known to be dead, and its host: a table under way may still have it. */
  private readonly dead = new Map<number, { epoch: number; host: string | undefined }>();
  private version = '';
  private timer: NodeJS.Timeout | undefined;
  private renewing: Promise<void> | undefined;
  /** When it was registered or renewed last, or a little earlier. */
  private since = -Infinity;
  /** As far as is known. */
  held = false;

  constructor(
    private readonly options: LeaseOptions,
    private readonly events: LeaseEvents,
  ) {
    const { leases, workers, departed, state, epoch, numbers } = keys(options.redis);
    this.keys = [leases, workers, departed, state, epoch, numbers, migrationKey(options.redis)];
    options.redis.onState((up) => up && this.renew());
  }

  /** Nobody can have taken this worker for dead. */
  get current(): boolean {
    return this.held && performance.now() - this.since < this.options.leaseMs;
  }

  /** When nobody can have taken this worker for dead last, in milliseconds since the epoch. */
  get heldAt(): number {
    return Date.now() - (performance.now() - this.since);
  }

  get me(): Member {
    return { ...this.options.me, epoch: this.epoch };
  }

  /**
   * Takes an epoch, has `prepare` make what others may use as soon as they see this worker, and registers.
   *
   * @returns the workers whose lease had ended, though nobody has declared them dead yet
   * @throws RedisUnavailable
   * @throws NotAdmitted
   */
  async register(prepare: (epoch: number) => Promise<void>): Promise<number[]> {
    const { me, lastNumber } = this.options;
    this.held = false;
    this.epoch = Number(await this.run(TAKE_EPOCH, [this.epoch]));
    await prepare(this.epoch);
    const json = JSON.stringify(this.me);
    const asked = performance.now();
    const reply = await this.run(REGISTER, [me.number, this.epoch, json, me.pool, me.pid, lastNumber, DIALECT]);
    if (reply === null) throw new NotAdmitted(`another worker has number ${me.number}`);
    if (Buffer.isBuffer(reply)) throw new NotAdmitted(`${migrating(reply)}; wait for its end`);
    const [version, workers, late] = reply as [Buffer | null, Buffer[], Buffer[]];
    if (version === null) throw new NotAdmitted(foreign(me, workers));
    this.held = true;
    this.since = asked;
    clusterCounters.renewed = performance.now();
    this.read(version, workers);
    this.timer ??= setInterval(() => this.renew(), this.options.leaseMs / 3);
    return late.map(Number);
  }

  /** Renews the lease, now or as soon as the renewal that is under way has ended. */
  renew(): Promise<void> {
    if (!this.held) return Promise.resolve();
    this.renewing ??= this.renewOnce()
      .catch((error: unknown) => this.events.failed(error))
      .finally(() => (this.renewing = undefined));
    return this.renewing;
  }

  private async renewOnce(): Promise<void> {
    const { me, leaseMs } = this.options;
    const { epoch } = this;
    const known = [me.number, epoch, this.version, ...this.claims];
    const asked = performance.now();
    const reply = await this.run(RENEW, known, leaseMs / 3);
    if (!this.held || epoch !== this.epoch) return;
    if (reply === null) {
      this.held = false;
      clusterCounters.lost++;
      this.events.lost();
      return;
    }
    const [version, workers, departed] = reply as [Buffer, Buffer[] | null, Buffer[]];
    this.since = asked;
    clusterCounters.renewed = performance.now();
    if (workers) this.read(version, workers);
    const open = departed.map(String).filter((dead) => !this.claims.has(dead));
    if (open.length > 0) this.events.departed(open);
  }

  /** Only what is new is parsed: a cluster of a thousand workers changes one by one. */
  private read(version: Buffer, workers: Buffer[]): void {
    this.version = version.toString();
    const members = new Map<number, Member>();
    const texts = new Set<string>();
    for (const bytes of workers) {
      const text = bytes.toString();
      texts.add(text);
      let member = this.parsed.get(text);
      if (!member) this.parsed.set(text, (member = JSON.parse(text) as Member));
      if (!this.isDead(member.number, member.epoch)) members.set(member.number, member);
    }
    for (const text of this.parsed.keys()) if (!texts.has(text)) this.parsed.delete(text);
    this.take(members);
  }

  private take(members: Map<number, Member>): void {
    for (const [number, { epoch }] of this.members) {
      if (members.get(number)?.epoch !== epoch) this.bury(number, epoch);
    }
    this.members = members;
    this.list = [...members.values()].sort((a, b) => a.number - b.number);
    clusterCounters.members = members.size;
    this.events.changed();
  }

  /** Looks for one worker, whom the others' table may have had for less than a renewal. */
  async look(number: number): Promise<void> {
    const found = (await this.options.redis.call('HGET', [this.keys[1]!, number])) as Buffer | null;
    if (!found || !this.held) return;
    const member = JSON.parse(found.toString()) as Member;
    const known = this.members.get(number);
    if (this.isDead(number, member.epoch) || (known && known.epoch >= member.epoch)) return;
    this.take(new Map(this.members).set(number, member));
  }

  private bury(number: number, epoch: number): void {
    if (this.isDead(number, epoch)) return;
    this.dead.delete(number);
    this.dead.set(number, { epoch, host: this.members.get(number)?.host });
    if (this.dead.size > DEAD_MOST) this.dead.delete(this.dead.keys().next().value!);
    clusterCounters.departures++;
  }

  isDead(number: number, epoch: number): boolean {
    return epoch <= (this.dead.get(number)?.epoch ?? 0);
  }

  /** Where it lived, if this worker knew it. */
  hostOf(number: number): string | undefined {
    return this.members.get(number)?.host ?? this.dead.get(number)?.host;
  }

  /** That incarnation is dead, as somebody knows. */
  forget(number: number, epoch: number): void {
    this.bury(number, epoch);
    if (this.members.get(number)?.epoch !== epoch) return;
    const members = new Map(this.members);
    members.delete(number);
    this.take(members);
  }

  /** Takes the lease of a worker that is known to be dead, to clean up after it; answers with its epoch if it had one. */
  async revoke(number: number): Promise<number | undefined> {
    const epoch = (await this.run(REVOKE, [number])) as number | null;
    return epoch ?? undefined;
  }

  /** Whether it is for this worker to clean up after the dead. */
  async claim(dead: string): Promise<boolean> {
    return (await this.run(CLAIM, [dead])) === 1;
  }

  /** Whether somebody has yet to clean up after the dead. */
  async isDeparted(dead: string): Promise<boolean> {
    return (await this.options.redis.call('ZSCORE', [this.keys[2]!, dead])) !== null;
  }

  /** The dead is cleaned up after; true for the first one to say so. */
  async cleaned(dead: string): Promise<boolean> {
    return (await this.options.redis.call('ZREM', [this.keys[2]!, dead])) === 1;
  }

  async announce(change: Partial<Pick<Member, 'advertise' | 'draining'>>): Promise<void> {
    Object.assign(this.options.me, change);
    if (!this.held) return;
    await this.run(ANNOUNCE, [this.options.me.number, this.epoch, JSON.stringify(this.me)]);
    await this.renew();
  }

  /** No renewals any more; the lease stays until it ends, or {@link leave}. */
  stop(): void {
    this.held = false;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** `tidy`: nobody has to clean up after this worker. */
  async leave(tidy: boolean): Promise<void> {
    this.stop();
    await this.renewing;
    await this.run(LEAVE, [this.options.me.number, this.epoch, tidy ? 1 : 0]);
  }

  private run(script: Script, args: (string | number)[], patienceMs?: number): Promise<unknown> {
    const options = patienceMs === undefined ? undefined : { patienceMs };
    return this.options.redis.run(script, this.keys, [this.options.leaseMs, ...args], options);
  }
}
