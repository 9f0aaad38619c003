import type { Logger } from 'pino';
import { count } from '../metrics/counters.js';
import { redisCounters, redisLatency } from '../metrics/redis.js';
import { Blocking } from './blocking.js';
import type { Connection } from './connection.js';
import { faultOf, forbidden, foreign, remedyOf } from './faults.js';
import { Health } from './health.js';
import { nodeOf } from './master.js';
import { type Code, Operation, type Owner, argumentsOf, codeOf } from './operation.js';
import { Probe } from './probe.js';
import {
  type BlockingRedis,
  type CallOptions,
  type Redis,
  type RedisArgument,
  type RedisNode,
  RedisUnavailable,
  type Script,
} from './redis.js';
import { ClusterServers, OneServer, type Servers } from './servers.js';
import type { Settings } from './settings.js';
import { slotOf } from './slot.js';
import { Waiting } from './waiting.js';

/** How often the link looks after what waits, in milliseconds. */
const TICK_MS = 25;
/** More time than that between two ticks was not the servers': this process was busy. */
const LONGEST_TICK_MS = 4 * TICK_MS;
/** How often a server that does not do what it should is asked how it is, and a cluster who serves what. */
const PROBE_MS = 250;
/** How long a command that a server refused waits at most before it is tried again. */
const LONGEST_PAUSE_MS = 400;
/** A command is sent on so often at once; then it takes its time. */
const HOPS = 4;

/** {@link Redis} over connections that come and go. */
export class Link implements Redis, Owner {
  readonly kind: Settings['kind'];
  readonly prefix: string;
  readonly patienceMs: number;
  readonly replicas: number;
  readonly servers: Servers;
  /** Connections of their own for what waits for replicas: nothing else shall. */
  private readonly lasting: Servers | undefined;
  private readonly probes: Probe[];
  private readonly health: Health;
  private readonly blocked = new Set<Blocking>();
  /** All that is not answered, in the order of the calls. */
  private readonly open = new Set<Operation>();
  /** Those among them that wait to be sent. */
  private readonly waiting = new Waiting();
  /** Milliseconds in which this process had time for its connections. */
  private now = 0;
  private timer: NodeJS.Timeout | undefined;
  private ticked = 0;
  private probed = 0;
  private closed = false;
  /** How long Redis may still be away, in milliseconds. */
  private leeway = Infinity;
  private readonly forsaking: (() => void)[] = [];

  constructor(
    private readonly settings: Settings,
    log: Logger | undefined,
  ) {
    this.kind = settings.kind;
    this.prefix = settings.prefix;
    this.patienceMs = settings.patienceMs;
    this.replicas = settings.replicas;
    const look = () => {
      this.look();
      this.resume();
    };
    const events = { changed: look, arranged: look };
    const connect = () =>
      this.kind === 'cluster' ? new ClusterServers(settings, events) : new OneServer(settings, events);
    this.servers = connect();
    if (settings.replicas > 0) this.lasting = connect();
    const all = this.lasting === undefined ? [this.servers] : [this.servers, this.lasting];
    this.health = new Health(all, log);
    this.probes = all.map((servers) => new Probe(this.prefix, servers, () => this.look()));
    for (const servers of all) void servers.refresh();
    this.wake();
  }

  call(command: string, args: readonly RedisArgument[], options?: CallOptions): Promise<unknown> {
    return this.submit(command, this.slot(args[0] as string | Buffer), undefined, command, [...args], options);
  }

  run(
    script: Script,
    keys: readonly (string | Buffer)[],
    args: readonly RedisArgument[],
    options?: CallOptions,
  ): Promise<unknown> {
    const all = argumentsOf({ keys, args });
    return this.submit(script.name, this.slot(keys[0]!), codeOf(script), 'EVALSHA', all, options);
  }

  private slot(key: string | Buffer): number {
    return this.kind === 'cluster' ? slotOf(key) : 0;
  }

  private submit(
    label: string,
    slot: number,
    script: Code | undefined,
    name: string,
    args: RedisArgument[],
    options: CallOptions | undefined,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const patience = options?.patienceMs ?? this.settings.patienceMs;
      const since = performance.now();
      const deadline = this.now + patience + LONGEST_TICK_MS;
      const lasting = options?.lasting === true ? this.lasting : undefined;
      const operation = new Operation(
        this,
        lasting ?? this.servers,
        label,
        slot,
        script,
        name,
        args,
        patience,
        deadline,
        since,
        lasting === undefined ? 0 : this.settings.replicas,
        options?.onAgain,
        resolve,
        reject,
      );
      operation.prompt = options?.prompt === true;
      this.open.add(operation);
      this.wake();
      this.dispatch(operation);
    });
  }

  private dispatch(operation: Operation): void {
    const connection = operation.asking ?? operation.servers.of(operation.slot);
    if (connection?.usable) operation.send(connection);
    else this.park(operation, 0);
  }

  /** It is sent when there is somebody to send it to, and not before `pause` milliseconds have gone by. */
  private park(operation: Operation, pause: number): void {
    operation.asking = undefined;
    operation.due = this.now + pause;
    if (operation.patience === 0 || this.closed || this.forsaken) this.giveUp(operation);
    else this.waiting.add(operation);
  }

  /** Sends what waited for a server, in the order of the calls. */
  private resume(): void {
    if (this.waiting.empty || !this.health.connections().some(({ usable }) => usable)) return;
    for (const operation of this.waiting.take(this.now)) this.dispatch(operation);
  }

  replied(operation: Operation, reply: unknown): void {
    operation.settled = true;
    this.open.delete(operation);
    const seconds = (performance.now() - operation.since) / 1000;
    redisLatency.observe(seconds);
    count(redisCounters.calls, operation.label);
    count(redisCounters.seconds, operation.label, seconds);
    const { address } = operation.connection!;
    count(redisCounters.serverCalls, address);
    count(redisCounters.serverSeconds, address, seconds);
    operation.done(reply);
  }

  failed(operation: Operation, error: Error): void {
    const { servers } = operation;
    const connection = operation.connection!;
    const fault = faultOf(error);
    if (fault.kind === 'refused') {
      operation.settled = true;
      this.open.delete(operation);
      const { address } = connection;
      operation.fail(forbidden(address, error) ?? foreign(address, operation.keys, error) ?? error);
      return;
    }
    operation.reason = fault.kind === 'lost' ? 'the connection broke' : error.message;
    count(redisCounters.retries, 'reason' in fault ? fault.reason : fault.kind);
    if (this.closed) this.giveUp(operation);
    else if (fault.kind === 'lost') {
      connection.broke();
      if (fault.sent) operation.again();
      this.park(operation, 0);
    } else if (fault.kind === 'wait') {
      if (fault.reason === 'unreplicated') operation.again();
      else if (fault.reason !== 'tryagain') this.mark(connection, fault.reason);
      if (fault.stale) servers.stale(connection);
      this.park(operation, Math.min(LONGEST_PAUSE_MS, 10 * 2 ** Math.min(operation.attempts, 8)));
    } else {
      if (fault.kind === 'moved') servers.moved(fault.slot, fault.address, connection);
      else if (fault.kind === 'ask') operation.asking = servers.at(fault.address, connection);
      else operation.forget(connection);
      if (operation.attempts < HOPS) this.dispatch(operation);
      else this.park(operation, 10 * Math.min(operation.attempts, 20));
    }
  }

  private giveUp(operation: Operation): void {
    operation.settled = true;
    this.open.delete(operation);
    redisCounters.unavailable++;
    const { label, reason, patience } = operation;
    const remedy = remedyOf(reason);
    const failure = `Redis did not do ${label} within ${Math.round(patience / 100) / 10} s (${reason})`;
    operation.fail(new RedisUnavailable(remedy === undefined ? `${failure}.` : `${failure}: ${remedy}`));
  }

  private mark(connection: Connection, fault: string): void {
    if (connection.fault === fault) return;
    connection.fault = fault;
    this.look();
  }

  // --- how it is ---------------------------------------------------------------------------------------------------------

  get up(): boolean {
    return this.health.up;
  }

  onState(listener: (up: boolean) => void): void {
    this.health.onChange(listener);
  }

  /** Sees whether commands get through; as long as they do not, what can be done is done. */
  private look(): void {
    if (!this.closed && !this.health.look()) this.wake();
  }

  hasten(awayMs: number): void {
    this.leeway = Math.min(this.leeway, awayMs);
    if (this.forsaken) this.forsake();
  }

  get forsaken(): boolean {
    return this.leeway <= 0 && !this.up;
  }

  onForsaken(listener: () => void): void {
    this.forsaking.push(listener);
  }

  private forsake(): void {
    for (const operation of this.waiting.take(Infinity)) this.giveUp(operation);
    for (const listener of this.forsaking) listener();
  }

  /** Resolves when commands get through; rejects after the patience. */
  ready(patienceMs = this.settings.patienceMs): Promise<void> {
    return this.health.ready(patienceMs);
  }

  // --- time --------------------------------------------------------------------------------------------------------------

  private wake(): void {
    if (this.timer !== undefined || this.closed) return;
    this.ticked = performance.now();
    this.timer = setInterval(() => this.tick(), TICK_MS);
  }

  private tick(): void {
    const elapsed = Math.min(performance.now() - this.ticked, LONGEST_TICK_MS);
    this.ticked = performance.now();
    this.now += elapsed;
    for (const connection of this.health.connections()) connection.tick(elapsed);
    for (const operation of this.open) if (operation.deadline <= this.now) this.giveUp(operation);
    this.resume();
    if (!this.up && this.leeway > 0 && (this.leeway -= elapsed) <= 0) this.forsake();
    if (!this.up && this.now - this.probed >= PROBE_MS) {
      this.probed = this.now;
      for (const probe of this.probes) probe.probe();
    }
    if (this.open.size > 0 || !this.up || this.health.connections().some(({ owed }) => owed)) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  // --- beside ------------------------------------------------------------------------------------------------------------

  blocking(key: string): BlockingRedis {
    const blocking = new Blocking(this.settings, this.servers, slotOf(key), () => this.blocked.delete(blocking));
    this.blocked.add(blocking);
    return blocking;
  }

  async masters(): Promise<RedisNode[]> {
    this.wake();
    await this.servers.refresh();
    return this.servers.all().map((connection) => nodeOf(connection, () => this.wake()));
  }

  masterOf(key: string): string | undefined {
    return this.servers.of(this.slot(key))?.address;
  }

  close(): Promise<void> {
    if (this.closed) return Promise.resolve();
    this.closed = true;
    clearInterval(this.timer);
    for (const operation of this.open) this.giveUp(operation);
    for (const blocking of this.blocked) blocking.close();
    this.servers.close();
    this.lasting?.close();
    redisCounters.up = undefined;
    return Promise.resolve();
  }
}
