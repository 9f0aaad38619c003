import { connect, type Socket } from 'node:net';
import { FrameReader, GREETING_BYTES, greeted, greeting } from './frames.js';

export interface IntakeEvents {
  /** The peer has greeted: it can send from now on. */
  greeted(): void;
  frame(kind: number, body: Buffer): void;
  /** Nothing more will come. `garbled` when what came was not ours to understand. */
  ended(garbled: boolean): void;
}

/** The way in from one peer: dials it and hands over its frames, none before `release()`. */
export class Intake {
  private readonly reader = new FrameReader();
  private readonly socket: Socket;
  private receiving = false;
  private state: 'greeting' | 'held' | 'open' | 'closed' = 'greeting';

  constructor(
    path: string,
    self: number,
    private readonly peer: number,
    private readonly events: IntakeEvents,
  ) {
    this.socket = connect({
      path,
      onread: {
        // The next read goes straight behind an unfinished frame.
        buffer: () => this.reader.space(),
        callback: (count) => this.received(count),
      },
    });
    this.socket.on('error', () => this.end(false));
    this.socket.on('close', () => this.end(false));
    this.socket.write(greeting(self));
  }

  /** The peer has greeted. */
  get ready(): boolean {
    return this.state === 'held' || this.state === 'open';
  }

  /** From now on frames are handed over. */
  release(): void {
    if (this.state !== 'held') return;
    this.state = 'open';
    // The socket has the place of its next read already, unless this is a call of `received`.
    if (this.hand(!this.receiving)) this.socket.resume();
  }

  close(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.socket.destroy();
  }

  private received(count: number): boolean {
    this.reader.filled(count);
    if (this.state === 'open') return this.hand(false);
    this.receiving = true;
    const go = this.greet();
    this.receiving = false;
    if (this.state === 'held') this.reader.reserve();
    return go;
  }

  private greet(): boolean {
    if (this.state !== 'greeting') return false;
    const first = this.reader.take(GREETING_BYTES);
    if (!first) return true;
    if (greeted(first) !== this.peer) {
      this.end(true);
      return false;
    }
    this.state = 'held';
    this.events.greeted();
    // Either released by the call, with what was read handed over, or waiting for it.
    return this.reading;
  }

  private get reading(): boolean {
    return this.state === 'open';
  }

  private hand(stay: boolean): boolean {
    if (!this.reader.frames(this.handle, stay)) this.end(true);
    return this.reading;
  }

  private readonly handle = (kind: number, body: Buffer): void => {
    // A listener may have closed the bus.
    if (this.state === 'open') this.events.frame(kind, body);
  };

  private end(garbled: boolean): void {
    if (this.state === 'closed') return;
    this.close();
    this.events.ended(garbled);
  }
}
