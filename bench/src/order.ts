/** What one receiver got of each sender: every message once, in order, or how often not. */
export class Order {
  private readonly last: Int32Array;
  received = 0;
  /** Not arrived so far. */
  missing = 0;
  duplicates = 0;
  reordered = 0;

  constructor(senders: number) {
    this.last = new Int32Array(senders).fill(-1);
  }

  /** Sequence numbers of a sender begin at 0. */
  take(sender: number, seq: number): void {
    this.received++;
    const expected = this.last[sender]! + 1;
    if (seq >= expected) {
      this.missing += seq - expected;
      this.last[sender] = seq;
    } else if (this.missing > 0) {
      this.missing--;
      this.reordered++;
    } else this.duplicates++;
  }

  /** Counts what the sender sent and this receiver never got after the last that it did. */
  end(sender: number, sent: number): void {
    this.missing += sent - 1 - this.last[sender]!;
  }
}
