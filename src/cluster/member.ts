import cluster from 'node:cluster';
import { rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Bus } from './bus.js';
import { Calls, type CallHandler } from './calls.js';
import { LocalBus } from './local-bus.js';
import { POOL, type Failure, type PeerPlace, type Welcome } from './pool-messages.js';

/** What a worker has from its pool. */
export interface Membership {
  /** Which pool this is, among those of all hosts. */
  readonly id: string;
  /** This worker's number on the bus, unique per incarnation. */
  readonly number: number;
  /** Its place in the pool, from 0. */
  readonly slot: number;
  /** Workers in the whole pool. */
  readonly workers: number;
  /** What the supervisor was given for every worker. */
  // `any`: JSON that main gives to itself
  readonly settings: any;
  readonly bus: Bus;
  /**
   * Opens the bus. Call it when every listener is set, and before the first client comes: it resolves when all
   * workers that were there before know this one and are known to it.
   */
  connect(): Promise<void>;
  /** This worker serves; `info` is what the supervisor shows of it. */
  ready(info: unknown): void;
  /** This worker cannot start: says why and ends with code 1. */
  failed(message: string): void;
  /** Asks what the supervisor handles. */
  // `any`: JSON whose shape the name tells
  ask(name: string, body?: unknown, timeoutMs?: number): Promise<any>;
  /** Answers what the supervisor asks. */
  // `any`: JSON whose shape the name tells
  handle(name: string, fn: (body: any) => unknown): void;
  /** Run one after the other when the worker shall end, within the pool's grace; `whole`: all workers of the pool shall. */
  onDrain(fn: (whole: boolean) => Promise<void>): void;
  onReload(fn: () => Promise<void>): void;
  /** Removes what the dead worker of that number left in shared tables; one worker is asked for each death. */
  onDeparted(fn: (number: number) => Promise<void>): void;
}

/** How long the news of a fatal error may take on its way to the supervisor. */
const LAST_WORDS_MS = 1_000;
/** How long supervisor may need to answer while it starts many workers. */
const JOIN_MS = 30_000;

/** Makes this process a member of the pool that forked it. */
export async function joinPool(): Promise<Membership> {
  if (!cluster.worker) throw new Error('this module is run by the supervisor of a pool');
  const worker = cluster.worker;
  const handlers = new Map<string, CallHandler<undefined>>();
  // The channel closes when the supervisor dies, which is handled below.
  const post = (message: unknown): void =>
    void (process.connected && process.send!(message, undefined, {}, () => undefined));
  const calls = new Calls<undefined>(
    'the supervisor',
    post,
    (name) => handlers.get(name),
    undefined,
    (error) => {
      throw error; // dies loudly
    },
  );
  process.on('message', (message) => calls.receive(message));
  dieLoudly(calls);

  const { pool, number, slot, workers, settings, socket, backlogBytes, graceSeconds } = (await calls.ask(
    POOL.join,
    undefined,
    JOIN_MS,
  )) as Welcome;
  const bus = new LocalBus({
    self: number,
    backlogBytes,
    onFault: (peer, fault) => calls.tell(POOL.fault, { number: peer, fault }),
    onError: (error, channel) => {
      const { message, stack } = failureOf(error);
      calls.tell(POOL.trouble, { message: `listener of bus channel ${channel}: ${message}`, stack });
    },
  });
  const drains: ((whole: boolean) => Promise<void>)[] = [];
  const reloads: (() => Promise<void>)[] = [];
  const departures: ((number: number) => Promise<void>)[] = [];
  let draining: Promise<void> | undefined;
  const drain = (whole: boolean): Promise<void> => (draining ??= inTurn(drains.map((step) => () => step(whole))));

  handlers.set(POOL.peer, (peer: PeerPlace) => void bus.meet(peer.number, peer.socket));
  handlers.set(POOL.gone, (peer: number) => bus.gone(peer));
  handlers.set(POOL.ping, () => true);
  handlers.set(POOL.drain, drain);
  handlers.set(POOL.reload, () => inTurn(reloads));
  handlers.set(POOL.departed, async (dead: number) => {
    for (const clean of departures) await clean(dead);
  });
  handlers.set(POOL.exit, async () => {
    await bus.close();
    process.exit(0);
  });

  // The terminal and systemd signal the whole group; the supervisor alone decides what that means.
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  process.on('SIGTERM', () => calls.tell(POOL.recycle));
  worker.once('disconnect', () => {
    // Keeps node:cluster from ending the process on the spot.
    worker.exitedAfterDisconnect = true;
    calls.end('the supervisor is dead');
    setTimeout(() => process.exit(1), graceSeconds * 1000 + LAST_WORDS_MS).unref();
    void drain(true)
      .then(() => bus.close())
      // The last worker closes the door.
      .then(() => (workers > 1 ? rmdir(dirname(socket)).catch(() => undefined) : undefined))
      .then(() => process.exit(0));
  });

  const connect = once(async () => {
    if (workers === 1) return;
    await bus.open(socket);
    const peers = (await calls.ask(POOL.connect, undefined, JOIN_MS)) as PeerPlace[];
    await Promise.all(peers.map((peer) => bus.meet(peer.number, peer.socket)));
    // After this every peer has us, too: what we write into shared tables is never taken for a dead worker's.
    await bus.barrier();
  });

  return {
    id: pool,
    number,
    slot,
    workers,
    settings,
    bus,
    connect,
    ready: (info) => void connect().then(() => calls.tell(POOL.ready, info)),
    failed: (message) => lastWords(calls, { message }),
    ask: (name, body, timeoutMs) => calls.ask(name, body, timeoutMs),
    handle: (name, fn) => void handlers.set(name, fn),
    onDrain: (fn) => void drains.push(fn),
    onReload: (fn) => void reloads.push(fn),
    onDeparted: (fn) => void departures.push(fn),
  };
}

/** A worker in an unknown state is no worker: it says what happened and ends; the supervisor starts another. */
function dieLoudly(calls: Calls<undefined>): void {
  const die = (error: unknown): void => lastWords(calls, failureOf(error));
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
}

function failureOf(error: unknown): Failure {
  return error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error) };
}

function lastWords(calls: Calls<undefined>, failure: Failure): void {
  if (process.connected) calls.tell(POOL.failed, failure);
  else console.error(failure.stack ?? failure.message);
  const end = (): never => process.exit(1);
  setTimeout(end, LAST_WORDS_MS);
  // The channel keeps its order: when this has left, so has the news.
  process.send?.({ thrum: 'tell', name: '' }, undefined, {}, end);
}

async function inTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
  for (const step of steps) await step();
}

function once<T>(run: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => (result ??= run());
}
