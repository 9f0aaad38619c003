// What is kept for each stream: a record of 64 bytes, and nothing else while it is idle. An unfinished stanza adds a
// buffer with its bytes and, once its root is open, the state of the scan (suspend.ts).
import {
  ATTR,
  ATTR_ENTRY,
  ATTR_MAX,
  DEPTH_MAX,
  F_HELD,
  F_MEMORY,
  INPUT_BYTES,
  STACK,
  STACK_ENTRY,
  STREAMS,
  TAIL_PAD,
} from './layout';
import { allocate, capacity, initHeap, release } from './heap';
import { fail } from './chars';
import { leaveScope } from './scope';

const RECORD: usize = 64;

// Fields of a record.
export const S_PHASE: usize = 0; // u8
const S_MARKS: usize = 1; // u8
export const S_FAULT: usize = 2; // u8
export const S_QUOTE: usize = 3; // u8: quote inside which a tag was cut off
export const S_LIMIT: usize = 4; // bytes of a stanza
export const S_DEPTH_END: usize = 8; // limits as addresses
export const S_ATTRIBUTE_END: usize = 12;
export const S_SCOPE: usize = 16;
export const S_BUFFER: usize = 20; // 0: none
export const S_HEAD: usize = 24; // unconsumed bytes of the buffer
export const S_TAIL: usize = 28;
export const S_AT: usize = 32; // where the scan goes on, counted from the head
export const S_SEEK: usize = 36; // where the search for a tag's end goes on, counted from the head; 0: no search
export const S_SAVED: usize = 40; // state of an open stanza, or 0
const S_NEXT_FREE: usize = 44;

// Phases.
export const FREE: u8 = 0;
/** Nothing seen yet: an XML declaration may come. */
export const FRESH: u8 = 1;
/** The root has to come. */
export const PROLOG: u8 = 2;
/** Between or in stanzas. */
export const BODY: u8 = 3;
/** The header was `<stream:stream …/>`: its end is to be reported. */
export const EMPTY: u8 = 4;
export const CLOSED: u8 = 5;
/** Framed: the document of this frame is complete. */
export const EPILOG: u8 = 6;
export const FAILED: u8 = 7;

// Marks.
export const FRAMED: u8 = 1;
export const HELD: u8 = 2;
/** The buffer ends in something unfinished: nothing to report in it. */
export const STARVED: u8 = 4;
/** White space may stand before the XML declaration: it was sent while the stream before still lasted. */
export const RESTARTED: u8 = 8;

/** Longest stanza that can be asked for: its buffer must fit into one block of the heap. */
const STANZA_MAX: u32 = 0x200000;

let streamsEnd: usize = 0;
let frontier: usize = 0;
let freeRecord: usize = 0;

/** Divides the memory between records (1/32) and heap. */
export function initStreams(bytes: usize): void {
  frontier = STREAMS;
  freeRecord = 0;
  streamsEnd = STREAMS + ((bytes >> 5) & ~(RECORD - 1));
  initHeap(streamsEnd, bytes - TAIL_PAD);
}

/** Makes a record; 0 when all are taken. Handles are the records' numbers, from 1. */
export function openStream(marks: u8, stanzaBytes: u32, depth: i32, attributes: i32): u32 {
  let s = freeRecord;
  if (s) freeRecord = load<usize>(s, S_NEXT_FREE);
  else {
    if (frontier + RECORD > streamsEnd) return 0;
    s = frontier;
    frontier += RECORD;
  }
  memory.fill(s, 0, RECORD);
  store<u8>(s, FRESH, S_PHASE);
  store<u8>(s, marks, S_MARKS);
  setLimit(s, stanzaBytes);
  store<usize>(s, STACK + STACK_ENTRY * max(1, min(depth, DEPTH_MAX)), S_DEPTH_END);
  store<usize>(s, ATTR + ATTR_ENTRY * max(1, min(attributes, ATTR_MAX)), S_ATTRIBUTE_END);
  return <u32>((s - STREAMS) / RECORD + 1);
}

export function setLimit(s: usize, stanzaBytes: u32): void {
  store<u32>(s, max<u32>(64, min(stanzaBytes, STANZA_MAX)), S_LIMIT);
}

/** The record of a handle, or 0 when there is no such stream. */
export function recordOf(handle: u32): usize {
  const s = STREAMS + RECORD * (handle - 1);
  return handle > 0 && s < frontier && load<u8>(s, S_PHASE) != FREE ? s : 0;
}

export function closeStream(s: usize): void {
  dropBuffer(s);
  dropSaved(s);
  leaveScope(load<usize>(s, S_SCOPE));
  store<u8>(s, FREE, S_PHASE);
  store<usize>(s, freeRecord, S_NEXT_FREE);
  freeRecord = s;
}

export function phaseOf(s: usize): u8 {
  return load<u8>(s, S_PHASE);
}

export function setPhase(s: usize, phase: u8): void {
  store<u8>(s, phase, S_PHASE);
}

export function has(s: usize, mark: u8): bool {
  return (load<u8>(s, S_MARKS) & mark) != 0;
}

export function mark(s: usize, bits: u8): void {
  store<u8>(s, load<u8>(s, S_MARKS) | bits, S_MARKS);
}

export function unmark(s: usize, bits: u8): void {
  store<u8>(s, load<u8>(s, S_MARKS) & ~bits, S_MARKS);
}

/** Unconsumed bytes in the buffer. */
export function buffered(s: usize): u32 {
  return load<u32>(s, S_TAIL) - load<u32>(s, S_HEAD);
}

/** Gives the buffer back. Its bytes stay readable until something is buffered again. */
export function dropBuffer(s: usize): void {
  const buffer = load<usize>(s, S_BUFFER);
  if (buffer) release(buffer);
  store<usize>(s, 0, S_BUFFER);
  store<u32>(s, 0, S_HEAD);
  store<u32>(s, 0, S_TAIL);
  unmark(s, STARVED);
}

export function dropSaved(s: usize): void {
  const saved = load<usize>(s, S_SAVED);
  if (saved) release(saved);
  store<usize>(s, 0, S_SAVED);
  store<u32>(s, 0, S_AT);
  store<u32>(s, 0, S_SEEK);
}

/** Makes room for `n` bytes more and a sentinel behind them. Moves the bytes only when that gains half the buffer. */
function reserve(s: usize, n: u32): bool {
  const buffer = load<usize>(s, S_BUFFER);
  const head = load<u32>(s, S_HEAD);
  const tail = load<u32>(s, S_TAIL);
  const live = tail - head;
  const room = buffer ? <u32>capacity(buffer) : 0;
  if (buffer && tail + n < room) return true;
  let to = buffer;
  if (!buffer || live + n >= room || live > room >> 1) {
    to = allocate(max<u32>(live + n + 1, buffer ? room + 1 : 0));
    if (!to) return fail(F_MEMORY) != 0;
  }
  memory.copy(to, buffer + head, live);
  if (buffer && to != buffer) release(buffer);
  store<usize>(s, to, S_BUFFER);
  store<u32>(s, 0, S_HEAD);
  store<u32>(s, live, S_TAIL);
  return true;
}

/**
 * Adds bytes to the stream's buffer. In framed mode NUL stands for the end of a frame there, so a client's own NUL,
 * as illegal as any control character, becomes another one.
 */
export function append(s: usize, from: usize, n: u32): bool {
  if (buffered(s) + n > load<u32>(s, S_LIMIT) + <u32>INPUT_BYTES) return fail(F_HELD) != 0;
  if (!reserve(s, n)) return false;
  const to = load<usize>(s, S_BUFFER) + load<u32>(s, S_TAIL);
  memory.copy(to, from, n);
  if (has(s, FRAMED)) for (let p = to; p < to + n; p++) if (!load<u8>(p)) store<u8>(p, 1);
  store<u32>(s, load<u32>(s, S_TAIL) + n, S_TAIL);
  return true;
}

/** Marks the end of a frame in the buffer. */
export function appendFrameEnd(s: usize): bool {
  if (!reserve(s, 1)) return false;
  store<u8>(load<usize>(s, S_BUFFER) + load<u32>(s, S_TAIL), 0);
  store<u32>(s, load<u32>(s, S_TAIL) + 1, S_TAIL);
  return true;
}
