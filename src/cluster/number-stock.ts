/** Numbers `first` to `first + count - 1`. */
export interface NumberBlock {
  first: number;
  count: number;
}

/** How long until a block is asked for again that could not be had, in milliseconds. */
const AGAIN_MS = 1_000;

/** Numbers for workers, reserved in blocks and ahead, so that the start of a worker need not wait for one. */
export class NumberStock {
  private next = 0;
  /** Of this block. */
  private left = 0;
  /** Below that many left, another block is got. */
  private low = 0;
  private reserved: NumberBlock | undefined;
  private filling: Promise<void> | undefined;
  private again: NodeJS.Timeout | undefined;

  constructor(
    private readonly reserve: () => Promise<NumberBlock>,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** Has a block ready. */
  fill(): Promise<void> {
    this.filling ??= this.reserve()
      .then((block) => void (this.reserved = block))
      .finally(() => (this.filling = undefined));
    return this.filling;
  }

  /** The next number; undefined while there is none. */
  take(): number | undefined {
    if (this.left === 0 && this.reserved) {
      this.next = this.reserved.first;
      this.left = this.reserved.count;
      this.low = this.left / 4;
      this.reserved = undefined;
    }
    const number = this.left > 0 ? this.next++ : undefined;
    if (number !== undefined) this.left--;
    if (this.left < this.low || number === undefined) this.refill();
    return number;
  }

  close(): void {
    clearTimeout(this.again);
    this.again = undefined;
  }

  private refill(): void {
    if (this.reserved || this.filling || this.again) return;
    this.fill().catch((error: unknown) => {
      this.failed(error);
      this.again = setTimeout(() => {
        this.again = undefined;
        this.refill();
      }, AGAIN_MS);
    });
  }
}

/** Numbers of a pool that is alone. */
export function ownNumbers(): () => Promise<NumberBlock> {
  return () => Promise.resolve({ first: 1, count: 0xffffffff });
}
