interface Frame {
  kind: number;
  body: Buffer;
}

/** Frames that one peer has not confirmed, of those that come back when it dies; and how many of the peer's were handled here. */
export class Unconfirmed {
  private frames: Frame[] = [];
  /** Of all that were ever kept; a u32 that goes round. */
  private confirmed = 0;
  /** The peer's frames that were handled. */
  private handled = 0;
  private told = 0;

  keep(kind: number, parts: readonly Uint8Array[]): void {
    this.frames.push({ kind, body: Buffer.concat(parts) });
  }

  /** The peer has handled so many since it is up; false when it was not sent that many. */
  confirm(total: number): boolean {
    const count = (total - this.confirmed) >>> 0;
    if (count > this.frames.length) return false;
    this.frames.splice(0, count);
    this.confirmed = total;
    return true;
  }

  /** All that are left. */
  take(): Frame[] {
    const { frames } = this;
    this.frames = [];
    return frames;
  }

  /** One of the peer's was handled. */
  handle(): void {
    this.handled = (this.handled + 1) >>> 0;
  }

  /** What the peer has to be told, if it is news. */
  news(): Buffer | undefined {
    if (this.told === this.handled) return undefined;
    this.told = this.handled;
    const body = Buffer.allocUnsafe(4);
    body.writeUInt32LE(this.told);
    return body;
  }
}
