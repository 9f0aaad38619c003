/** Where sessions went that were here, as long as their clients may ask for them. */
export class Departed {
  private readonly places = new Map<string, { worker: number; until: number }>();

  constructor(private readonly capacity: number) {}

  add(id: string, worker: number, milliseconds: number): void {
    this.places.delete(id);
    if (this.places.size >= this.capacity) this.places.delete(this.places.keys().next().value!);
    this.places.set(id, { worker, until: Date.now() + milliseconds });
  }

  /** It is here again. */
  delete(id: string): void {
    this.places.delete(id);
  }

  worker(id: string): number | undefined {
    const place = this.places.get(id);
    if (place === undefined || place.until > Date.now()) return place?.worker;
    this.places.delete(id);
    return undefined;
  }
}
