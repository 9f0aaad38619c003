import type { ItemRecord, ItemStore } from '../store/store.js';
import type { NodeState } from './node.js';

/** Items that are read at a time, and most that are looked at, of one node. */
const PAGE = 32;
const MOST = 1024;
const MOST_BYTES = 1024 * 1024;
/** So many of the last notifications are looked for in the store: an item before them may have been overtaken by one of them, hardly more. */
const LAST = 32;
/** Clocks of publishers may be as far apart, in milliseconds. */
const APART_MS = 30_000;
/** So long a notification may have been on its way, in milliseconds. */
const ON_ITS_WAY_MS = 5_000;

/** What a node's recipients were not notified of: in order, the oldest first. `more`: older ones may be missing, too. */
export interface Missed {
  items: ItemRecord[];
  more: boolean;
}

/** What this worker's recipients were notified of last. */
export interface Known {
  /** When items of the node were published, in the order of their notifications. */
  times: readonly number[];
  /** The first that is remembered, of all nodes, was published then; 0 where nothing was forgotten. */
  first: number;
}

/**
 * Goes through the items from the newest back. Items are in the order in which they were kept, which is that of their notifications but
 * for those that were under way at the same time.
 *
 * @param since when nothing could have been missed yet
 */
export async function missedOf(
  store: ItemStore,
  { name, seen, readSince }: Pick<NodeState, 'name' | 'seen' | 'readSince'>,
  { times, first }: Known,
  since: number,
  notBefore: number | undefined,
): Promise<Missed> {
  const known = new Set(times).add(seen);
  // One that overtook the first that is remembered may be forgotten.
  const anchors = new Set(times.slice(first === 0 ? -LAST : Math.max(1, times.length - LAST)));
  if (seen > 0) anchors.add(seen);
  // From then on all notifications are remembered.
  const complete = Math.max(since - ON_ITS_WAY_MS, readSince);
  const sure = seen === 0 || first < complete - APART_MS ? complete : Infinity;
  const end = Math.min(sure, ...[...anchors].map((time) => time - APART_MS));
  const unknown: ItemRecord[] = [];
  /** How many of those are newer than the last anchor that was met. */
  let newer: number | undefined;
  let bytes = 0;
  let before = '';
  for (let looked = 0; ;) {
    const { items } = (await store.page(name, { limit: PAGE, before, notBefore })) ?? { items: [] };
    for (const item of items.toReversed()) {
      if (anchors.delete(item.published)) newer = unknown.length;
      if (item.published < end || (anchors.size === 0 && item.published < sure)) return result(false);
      if (known.has(item.published)) continue;
      unknown.push(item);
      bytes += item.payload.length;
      if (bytes > MOST_BYTES || ++looked >= MOST) return result(true);
    }
    if (items.length < PAGE) return result(false);
    before = items[0]!.id;
  }

  function result(more: boolean): Missed {
    const missed = unknown.filter(({ published }, at) => {
      if (published > sure || at < (newer ?? 0)) return true;
      // Where none of what was seen is there any more, times have to say what is newer.
      return newer === undefined && published > Math.max(seen, readSince);
    });
    return { items: missed.reverse(), more };
  }
}
