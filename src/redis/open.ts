import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import { examine, keyOf } from './examine.js';
import { remedyOf } from './faults.js';
import { Link } from './link.js';
import { type Redis, RedisRefused, RedisUnavailable } from './redis.js';
import { masterOf } from './sentinel.js';
import { type Settings, addressOf, settingsOf, written } from './settings.js';

export { RedisRefused } from './redis.js';

/** How long it takes until a server that was not there is asked again, in milliseconds. */
const PAUSE_MS = 100;

/** How long to wait for all masters, in milliseconds, where some of them will do. */
const PARTIAL_MS = 3_000;

/**
 * Connects to Redis; all connections have the name, if there is one. What is not there yet is waited for, as long as any command would be.
 * `partial`: of a cluster some masters will do, to read what is there.
 *
 * @throws RedisRefused with a sentence that says what to change
 */
export async function openRedis(
  config: Config['redis'],
  options: { log?: Logger; name?: string; partial?: boolean } = {},
): Promise<Redis> {
  const settings = settingsOf(config);
  await patiently(settings, () => examineFirst(settings));
  const link = new Link({ ...settings, name: options.name ?? '' }, options.log);
  try {
    await readied(link, settings, options.partial === true);
    return link;
  } catch (error) {
    await link.close();
    throw error instanceof RedisUnavailable ? new RedisRefused(hint(settings, error), { cause: error }) : error;
  }
}

async function readied(link: Link, settings: Settings, partial: boolean): Promise<void> {
  if (settings.kind !== 'cluster') return link.ready();
  const { patienceMs } = settings;
  const masters = () => link.masters().then((all) => (partial ? all.filter(({ reachable }) => reachable) : all));
  let late: unknown;
  await link.ready(partial ? Math.min(patienceMs, PARTIAL_MS) : patienceMs).catch((error: unknown) => (late = error));
  const found = await masters();
  // The one that is not ready may say why.
  for (const { address } of found) await examine(settings, addressOf('redis.nodes', address));
  if (late !== undefined && (found.length === 0 || !partial)) throw late;
}

/** Tries until it works, is refused, or the patience ends. */
async function patiently(settings: Settings, work: () => Promise<void>): Promise<void> {
  const until = performance.now() + settings.patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RedisUnavailable)) throw error;
      if (performance.now() >= until) throw new RedisRefused(hint(settings, error), { cause: error });
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function hint(settings: Settings, error: Error): string {
  const remedy = remedyOf(error.message) ?? `start it, or correct ${keyOf(settings)}`;
  return `${error.message.replace(/\.$/, '')}: ${remedy}`;
}

/** The first of the servers that answers at all. */
async function examineFirst(settings: Settings): Promise<void> {
  if (settings.kind === 'sentinel') return examine(settings, await masterOf(settings));
  let failure: unknown;
  for (const address of settings.addresses) {
    try {
      return await examine(settings, address);
    } catch (error) {
      if (!(error instanceof RedisUnavailable)) throw error;
      failure ??= error;
    }
  }
  throw (
    failure ?? new RedisRefused(`${keyOf(settings)} names no server: write ${written({ host: 'host', port: 6379 })}`)
  );
}
