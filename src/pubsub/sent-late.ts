/** So many are remembered, some 6 MB. */
export const SENT_LATE_MOST = 65_536;

/**
 * Missed items that were sent: notifications of them may still come, from workers that died meanwhile, and are not sent then. Past the
 * bound the oldest are forgotten. Nothing is lost by that: should one of those few notifications come after all, it is sent a second time.
 */
export class SentLate {
  /** By when they were published, which items of two nodes hardly ever have in common. */
  private readonly names = new Map<number, string>();

  add(name: string, published: number): void {
    this.names.set(published, name);
    if (this.names.size > SENT_LATE_MOST) this.names.delete(this.names.keys().next().value!);
  }

  has(name: string, published: number): boolean {
    return this.names.size > 0 && this.names.get(published) === name;
  }

  clear(): void {
    this.names.clear();
  }
}
