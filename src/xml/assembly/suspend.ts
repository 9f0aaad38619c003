// The state of a scan that ran out of data inside a stanza, packed into a block of its own: only what is in use.
// Addresses inside the stanza are kept relative to its start, because its bytes may move before the scan goes on.
import { ENV, ENV_BYTES, E_CHILD_COUNT, NSB, NS_ENTRY, POINTERS, ROWS, ROW_BYTES, STACK, STACK_ENTRY } from './layout';
import { allocate, capacity, release } from './heap';
import { S_SAVED } from './streams';
import * as state from './state';

const HEAD: usize = 32;
const RELATIVE: usize = 0x80000000;

let out: usize = 0;
let from: usize = 0;
let to: usize = 0;

/** Copies a word that may be an address inside the stanza. */
function pack(p: usize): void {
  const v = load<usize>(p);
  store<usize>(out, v - from <= to - from ? (v - from) | RELATIVE : v);
  out += 4;
}

function unpack(p: usize): void {
  const v = load<usize>(out);
  store<usize>(p, v & RELATIVE ? (v & ~RELATIVE) + from : v);
  out += 4;
}

function take(p: usize, bytes: usize): void {
  memory.copy(out, p, bytes);
  out += bytes;
}

function give(p: usize, bytes: usize): void {
  memory.copy(p, out, bytes);
  out += bytes;
}

/** Saves the scan of the stanza in [start, end) with the record; false when there is no room. */
export function suspend(s: usize, start: usize, end: usize): bool {
  const rows = ROW_BYTES * load<i32>(ENV, E_CHILD_COUNT);
  const bytes = HEAD + ENV_BYTES + rows + (state.top - STACK) + (state.nsTop - NSB);
  let saved = load<usize>(s, S_SAVED);
  if (saved && capacity(saved) < bytes) {
    release(saved);
    saved = 0;
  }
  if (!saved) saved = allocate(bytes);
  store<usize>(s, saved, S_SAVED);
  if (!saved) return false;
  store<usize>(saved, state.top);
  store<usize>(saved, state.nsTop, 4);
  store<usize>(saved, state.defaultNs, 8);
  store<usize>(saved, state.zone, 12);
  store<usize>(saved, state.floor, 16);
  store<i32>(saved, state.pubsubChildren, 20);
  store<u32>(saved, state.inCdata, 24);
  out = saved + HEAD;
  from = start;
  to = end;
  for (let p = ENV; p < ENV + 4 * POINTERS; p += 4) pack(p);
  take(ENV + 4 * POINTERS, ENV_BYTES - 4 * POINTERS);
  for (let p = ROWS; p < ROWS + rows; p += 4) pack(p);
  for (let p = STACK; p < state.top; p += STACK_ENTRY) {
    pack(p);
    take(p + 4, STACK_ENTRY - 4);
  }
  for (let p = NSB; p < state.nsTop; p += NS_ENTRY) {
    pack(p);
    take(p + 4, 4);
    pack(p + 8);
    pack(p + 12);
    take(p + 16, NS_ENTRY - 16);
  }
  return true;
}

/** Takes the saved scan up again; the stanza starts at `start` now. The block stays with the record. */
export function resume(s: usize, start: usize): void {
  const saved = load<usize>(s, S_SAVED);
  state.top = load<usize>(saved);
  state.nsTop = load<usize>(saved, 4);
  state.defaultNs = load<usize>(saved, 8);
  state.zone = load<usize>(saved, 12);
  state.floor = load<usize>(saved, 16);
  state.pubsubChildren = load<i32>(saved, 20);
  state.inCdata = load<u32>(saved, 24) != 0;
  out = saved + HEAD;
  from = start;
  for (let p = ENV; p < ENV + 4 * POINTERS; p += 4) unpack(p);
  give(ENV + 4 * POINTERS, ENV_BYTES - 4 * POINTERS);
  const rows = ROW_BYTES * load<i32>(ENV, E_CHILD_COUNT);
  for (let p = ROWS; p < ROWS + rows; p += 4) unpack(p);
  for (let p = STACK; p < state.top; p += STACK_ENTRY) {
    unpack(p);
    give(p + 4, STACK_ENTRY - 4);
  }
  for (let p = NSB; p < state.nsTop; p += NS_ENTRY) {
    unpack(p);
    give(p + 4, 4);
    unpack(p + 8);
    unpack(p + 12);
    give(p + 16, NS_ENTRY - 16);
  }
}
