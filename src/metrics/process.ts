import { readFileSync } from 'node:fs';

/** When this process began, in seconds since the epoch. */
export const STARTED = Math.round((Date.now() - process.uptime() * 1000) / 1000);
let descriptors: number | undefined;

/** The soft limit of this process; 0 where the system does not tell. */
export function maxFileDescriptors(): number {
  if (descriptors === undefined) {
    const limits = process.platform === 'linux' ? readFileSync('/proc/self/limits', 'utf8') : '';
    descriptors = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0);
  }
  return descriptors;
}
