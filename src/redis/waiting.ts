import type { Operation } from './operation.js';

/** Operations that wait to be sent (again). */
export class Waiting {
  private operations: Operation[] = [];

  get empty(): boolean {
    return this.operations.length === 0;
  }

  add(operation: Operation): void {
    this.operations.push(operation);
  }

  /** Takes out those whose time has come, in the order of the calls. */
  take(now: number): Operation[] {
    const open = this.operations.filter(({ settled }) => !settled);
    // Mostly they are in order, since they came to wait so.
    if (open.some(({ number }, i) => i > 0 && number < open[i - 1]!.number)) open.sort((a, b) => a.number - b.number);
    this.operations = open.filter(({ due }) => due > now);
    return open.filter(({ due }) => due <= now);
  }
}
