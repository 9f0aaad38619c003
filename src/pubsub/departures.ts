import type { NodeState } from './node.js';
import type { Reader } from './interest.js';

/**
 * Something that was accepted and leaves (notifications, a result) once the store has it. What concerns one node leaves in
 * the order of acceptance, and so does what comes from one session, however long each takes.
 */
export abstract class Departure {
  /** What has to happen before: the store's answer, and the departures ahead at the node and the session. */
  private waits = 1;
  private afterAtNode: Departure | undefined;
  private afterOfSession: Departure | undefined;

  constructor(
    readonly node: NodeState,
    readonly reader: Reader | undefined,
  ) {}

  /** Called once, in order. Must not throw. */
  protected abstract leave(): void;

  /** Takes its place behind what is under way. */
  queue(): void {
    const { node, reader } = this;
    if (node.tail !== undefined) {
      node.tail.afterAtNode = this;
      this.waits++;
    }
    node.tail = this;
    if (reader === undefined) return;
    if (reader.tail !== undefined) {
      reader.tail.afterOfSession = this;
      this.waits++;
    }
    reader.tail = this;
    reader.departing++;
  }

  /** The store has answered. Whatever can go now goes. */
  ready(): void {
    if (--this.waits > 0) return;
    const going: Departure[] = [this];
    for (let i = 0; i < going.length; i++) {
      const departure = going[i]!;
      departure.leave();
      departure.left();
      const { afterAtNode, afterOfSession } = departure;
      if (afterAtNode !== undefined && --afterAtNode.waits === 0) going.push(afterAtNode);
      if (afterOfSession !== undefined && --afterOfSession.waits === 0) going.push(afterOfSession);
    }
  }

  protected left(): void {
    const { node, reader } = this;
    if (node.tail === this) node.tail = undefined;
    if (reader === undefined) return;
    if (reader.tail === this) reader.tail = undefined;
    reader.departing--;
  }
}

/** Waits for its turn, then runs `action`. The promise resolves to what it returns. */
export class Turn<Result> extends Departure {
  readonly done: Promise<Result>;
  private resolve!: (result: Result) => void;

  constructor(
    node: NodeState,
    reader: Reader | undefined,
    private readonly action: () => Result,
  ) {
    super(node, reader);
    this.done = new Promise((resolve) => (this.resolve = resolve));
  }

  protected leave(): void {
    this.resolve(this.action());
  }
}
