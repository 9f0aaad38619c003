import { count, counters } from '../metrics/counters.js';
import { Barriers } from './barriers.js';
import type { BusListener, Channel } from './bus.js';
import { CONTROL, FRAME_HEADER } from './frames.js';
import { Requests } from './requests.js';

const REQUEST_MS = 5_000;
const NOTHING = new Uint8Array(0);

/** What every bus does with frames, however they travel: listeners hear them, requests are answered, barriers pass. */
export class Talk {
  readonly barriers = new Barriers();
  readonly requests = new Requests();
  private readonly listeners: (BusListener | undefined)[] = [];
  /** Scratch for the front of control frames: an id, and the channel of a request. */
  private readonly front = new Uint8Array(5);
  private readonly idOnly = this.front.subarray(0, 4);

  constructor(
    private readonly self: number,
    /** Queues a frame for a peer that is up, else does nothing; the parts are copied before it returns. */
    private readonly post: (peer: number, kind: number, parts: readonly Uint8Array[]) => void,
    /** A listener threw or rejected. */
    private readonly failed: ((error: unknown, channel: number) => void) | undefined,
  ) {}

  listen(channel: Channel, listener: BusListener): void {
    this.listeners[channel] = listener;
  }

  request(peer: number, channel: Channel, body: Uint8Array, timeoutMs = REQUEST_MS): Promise<Buffer> {
    return this.requests.open(peer, timeoutMs, (id) => {
      this.id(id);
      this.front[4] = channel;
      this.post(peer, CONTROL.request, [this.front, body]);
    });
  }

  /** The body of a barrier's frame; valid until the next one. */
  barrier(id: number): readonly Uint8Array[] {
    return [this.id(id)];
  }

  /** Handles what a peer sent; false when it makes no sense. */
  frame(from: number, kind: number, body: Buffer): boolean {
    counters.busFramesIn++;
    counters.busBytesIn += body.length + FRAME_HEADER;
    if (kind < CONTROL.request) {
      this.hear(from, kind, body);
      return true;
    }
    if (body.length < (kind === CONTROL.request ? 5 : 4)) return false;
    const id = body.readUInt32LE(0);
    if (kind === CONTROL.request) this.answer(from, id, body[4]!, body.subarray(5));
    else if (kind === CONTROL.answer) this.requests.answered(id, from, Buffer.from(body.subarray(4)));
    else if (kind === CONTROL.refusal) this.requests.refused(id, from, body.toString('utf8', 4));
    else if (kind === CONTROL.barrier) this.post(from, CONTROL.barrierDone, [this.id(id)]);
    else if (kind === CONTROL.barrierDone) this.barriers.passed(id, from);
    else return false;
    return true;
  }

  /** The peer answers nothing any more, or not what was asked before. */
  gone(peer: number): void {
    this.requests.gone(peer);
    this.barriers.gone(peer);
  }

  end(): void {
    this.requests.end();
    this.barriers.leave(new Set());
  }

  guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.failed?.(error, 0);
    }
  }

  /** Calls the listener; one that fails costs its own frame only. Undefined: there is none, or it threw. */
  private hear(from: number, channel: number, body: Buffer): { answer: ReturnType<BusListener> } | undefined {
    const listener = this.listeners[channel];
    if (!listener) {
      count(counters.drops, 'bus_without_listener');
      return undefined;
    }
    try {
      const answer = listener(from, body);
      if (answer instanceof Promise) answer.catch((error: unknown) => this.failed?.(error, channel));
      return { answer };
    } catch (error) {
      this.failed?.(error, channel);
      return undefined;
    }
  }

  private answer(from: number, id: number, channel: number, body: Buffer): void {
    const reply = (kind: number, bytes: Uint8Array): void => this.post(from, kind, [this.id(id), bytes]);
    const refuse = (): void => reply(CONTROL.refusal, Buffer.from(`worker ${this.self} cannot answer`));
    const heard = this.hear(from, channel, body);
    if (!heard) refuse();
    else if (heard.answer instanceof Promise) heard.answer.then((bytes) => reply(CONTROL.answer, bytes), refuse);
    else reply(CONTROL.answer, heard.answer ?? NOTHING);
  }

  private id(id: number): Uint8Array {
    const { front } = this;
    front[0] = id;
    front[1] = id >>> 8;
    front[2] = id >>> 16;
    front[3] = id >>> 24;
    return this.idOnly;
  }
}
