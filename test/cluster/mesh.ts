import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { LocalBus, type LocalBusOptions } from '../../src/cluster/local-bus.js';

export interface Mesh {
  buses: LocalBus[];
  directory: string;
  /** Adds one more worker that meets all others; `prepare` sets its listeners before. */
  join(prepare?: (bus: LocalBus) => void): Promise<LocalBus>;
}

/** Real buses in one process, all acquainted; numbers count from 1. Closed when the test ends. */
export async function mesh(size: number, options: Partial<LocalBusOptions> = {}): Promise<Mesh> {
  const directory = await mkdtemp(join(tmpdir(), 'bus-'));
  const buses: LocalBus[] = [];
  const path = (number: number): string => join(directory, `${number}`);
  const enter = async (prepare?: (bus: LocalBus) => void): Promise<LocalBus> => {
    const bus = new LocalBus({ self: buses.length + 1, backlogBytes: 1 << 20, ...options });
    prepare?.(bus);
    await bus.open(path(bus.self));
    const met = buses.flatMap((other) => [
      bus.meet(other.self, path(other.self)),
      other.meet(bus.self, path(bus.self)),
    ]);
    buses.push(bus);
    await Promise.all(met);
    return bus;
  };
  for (let i = 0; i < size; i++) await enter();
  onTestFinished(async () => {
    await Promise.all(buses.map((bus) => bus.close()));
    await rm(directory, { recursive: true });
  });
  return { buses, directory, join: enter };
}
