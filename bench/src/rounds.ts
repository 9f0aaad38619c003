import type { Row } from './rows.js';
import type { Result } from './run.js';

interface Cost {
  /** CPU seconds of the brokers per message, and those of Redis with them. */
  brokers: number;
  all: number;
}

/** Lines that were measured several times, in turns: what is said of them is a median, since machines are never quiet. */
export class Rounds {
  private readonly costs = new Map<Row, Cost[]>();

  add(row: Row, { done, serverCpu, storeCpu }: Result): void {
    const costs = this.costs.get(row) ?? [];
    costs.push({ brokers: serverCpu / done, all: (serverCpu + storeCpu) / done });
    this.costs.set(row, costs);
  }

  print(): void {
    console.log(
      '\nmedians: µs CPU each, with Redis; times those of the same load on one host with LMDB, round by round',
    );
    for (const [row, costs] of this.costs) {
      const { scenario, variant, transport } = row;
      const name = `${scenario}${variant === '' ? '' : ` (${variant})`} ${transport}`;
      const base = [...this.costs.keys()].find((other) => other.scenario === scenario && other.variant === row.base);
      const ratios = base === undefined || base === row ? '' : this.ratios(costs, this.costs.get(base)!);
      const figures = [(cost: Cost) => cost.brokers, (cost: Cost) => cost.all].map((part) =>
        (median(costs.map(part)) * 1e6).toFixed(2).padStart(7),
      );
      console.log(`${name.padEnd(32)}${figures.join('')}  ${ratios}`.trimEnd());
    }
  }

  private ratios(costs: readonly Cost[], bases: readonly Cost[]): string {
    const pairs = costs.slice(0, bases.length).map((cost, round) => ({ cost, base: bases[round]! }));
    const brokers = pairs.map(({ cost, base }) => cost.brokers / base.brokers);
    const all = pairs.map(({ cost, base }) => cost.all / base.all);
    return `${median(brokers).toFixed(2)} times, with Redis ${median(all).toFixed(2)} (${all.map((one) => one.toFixed(2)).join(' ')})`;
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
