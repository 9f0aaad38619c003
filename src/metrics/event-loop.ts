import { PerformanceObserver, constants, performance, type PerformanceEntry } from 'node:perf_hooks';
import { Histogram } from './histogram.js';

const EVERY_MS = 100;

/** How much later than it should a timer came, in seconds: what every connection of the worker waits for. */
export const eventLoopLag = new Histogram([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]);

/** Seconds in garbage collection, by kind. */
export const gcSeconds = { minor: 0, major: 0, incremental: 0, weakcb: 0 };

/** Begins to watch the event loop and the garbage collector of this process; the returned function ends it. */
export function watchEventLoop(): () => void {
  let due = performance.now() + EVERY_MS;
  const timer = setInterval(() => {
    const now = performance.now();
    eventLoopLag.observe(Math.max(0, now - due) / 1000);
    due = now + EVERY_MS;
  }, EVERY_MS);
  timer.unref();
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) gcSeconds[kindOf(entry)] += entry.duration / 1000;
  });
  observer.observe({ entryTypes: ['gc'] });
  return () => {
    clearInterval(timer);
    observer.disconnect();
  };
}

/** Seconds in which the event loop had something to do, since the process began. */
export function busySeconds(): number {
  return performance.eventLoopUtilization().active / 1000;
}

function kindOf(entry: PerformanceEntry): keyof typeof gcSeconds {
  switch ((entry as PerformanceEntry & { detail: { kind: number } }).detail.kind) {
    case constants.NODE_PERFORMANCE_GC_MAJOR:
      return 'major';
    case constants.NODE_PERFORMANCE_GC_INCREMENTAL:
      return 'incremental';
    case constants.NODE_PERFORMANCE_GC_WEAKCB:
      return 'weakcb';
    default:
      return 'minor';
  }
}
