// Blocks of 128 bytes to 4 MiB (powers of two) with a free list per size; neighbours are joined again when both are
// free (a buddy system), so that no mix of sizes over a server's life can strand memory in the wrong class.
// Every block begins with a header of its own: freeing never touches the data, which therefore stays readable until
// the next allocation (envelopes may refer to a buffer that was just given back).
import { FREE_LISTS } from './layout';

const MIN_SHIFT: u32 = 7;
const ORDERS: u32 = 16;
const TOP_BYTES: usize = (<usize>1) << (MIN_SHIFT + ORDERS - 1);
const HEADER: usize = 16;
const FREE: u8 = 0x80;

let map: usize = 0; // one byte per 128 bytes: the order of the block that starts there, plus FREE
let arena: usize = 0;
let frontier: usize = 0; // top-order blocks above this one were never used
let arenaEnd: usize = 0;
let used: usize = 0;

/** Takes [from, to) for the heap; the map comes first. */
export function initHeap(from: usize, to: usize): void {
  map = from;
  const size = to - from;
  arena = (from + (size >> MIN_SHIFT) + 127) & ~(<usize>127);
  frontier = arena;
  arenaEnd = to;
}

/** Bytes in allocated blocks. */
export function heapUsed(): usize {
  return used;
}

function tag(block: usize): usize {
  return map + ((block - arena) >> MIN_SHIFT);
}

function push(block: usize, order: u32): void {
  const list = FREE_LISTS + (order << 2);
  const next = load<usize>(list);
  store<usize>(block, next);
  store<usize>(block, 0, 4);
  if (next) store<usize>(next, block, 4);
  store<usize>(list, block);
  store<u8>(tag(block), FREE | (<u8>order));
}

function unlink(block: usize, order: u32): void {
  const next = load<usize>(block);
  const prev = load<usize>(block, 4);
  if (prev) store<usize>(prev, next);
  else store<usize>(FREE_LISTS + (order << 2), next);
  if (next) store<usize>(next, prev, 4);
}

/** Address of at least `bytes` bytes, or 0 when there is no room. */
export function allocate(bytes: usize): usize {
  const total = bytes + HEADER;
  if (total > TOP_BYTES) return 0;
  const order: u32 = total <= (<usize>1) << MIN_SHIFT ? 0 : 32 - clz<u32>(<u32>total - 1) - MIN_SHIFT;
  let found = order;
  while (found < ORDERS && !load<usize>(FREE_LISTS + (found << 2))) found++;
  let block: usize;
  if (found < ORDERS) {
    block = load<usize>(FREE_LISTS + (found << 2));
    unlink(block, found);
  } else {
    block = frontier;
    if (block + TOP_BYTES > arenaEnd) return 0;
    frontier += TOP_BYTES;
    found = ORDERS - 1;
  }
  while (found > order) {
    found--;
    push(block + ((<usize>1) << (MIN_SHIFT + found)), found);
  }
  store<u8>(tag(block), <u8>order);
  used += (<usize>1) << (MIN_SHIFT + order);
  return block + HEADER;
}

/** Bytes that fit at an address given by `allocate`. */
export function capacity(data: usize): usize {
  return ((<usize>1) << (MIN_SHIFT + load<u8>(tag(data - HEADER)))) - HEADER;
}

/** Gives a block back; its data stays as it is until the next `allocate`. */
export function release(data: usize): void {
  let block = data - HEADER;
  let order = <u32>load<u8>(tag(block));
  used -= (<usize>1) << (MIN_SHIFT + order);
  while (order < ORDERS - 1) {
    const buddy = arena + ((block - arena) ^ ((<usize>1) << (MIN_SHIFT + order)));
    if (load<u8>(tag(buddy)) != (FREE | (<u8>order))) break;
    unlink(buddy, order);
    if (buddy < block) block = buddy;
    order++;
  }
  push(block, order);
}
