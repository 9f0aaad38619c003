// The strict stanza scanner: what the host calls. One call takes a chunk of network bytes and reports the first thing
// in it; `next` goes on in the rest. Whole stanzas are scanned where they lie in the input window; what is cut off is
// kept in a buffer of the stream.
import {
  CLASS,
  ENV,
  ERROR,
  E_REST,
  FREE_LISTS,
  F_FRAME,
  F_LOST,
  INPUT,
  INPUT_BYTES,
  NEED_MORE,
  SCOPE_TEXT,
  SCOPE_TEXT_BYTES,
} from './layout';
import { fault, initClasses } from './chars';
import { heapUsed } from './heap';
import { initWords } from './words';
import { cursor, scan } from './document';
import { leaveScope } from './scope';
import {
  CLOSED,
  EMPTY,
  EPILOG,
  FAILED,
  FRAMED,
  FRESH,
  HELD,
  RESTARTED,
  STARVED,
  S_BUFFER,
  S_FAULT,
  S_HEAD,
  S_SCOPE,
  S_TAIL,
  append,
  appendFrameEnd,
  buffered,
  closeStream,
  dropBuffer,
  dropSaved,
  has,
  initStreams,
  mark,
  openStream,
  phaseOf,
  recordOf,
  setLimit,
  setPhase,
  unmark,
} from './streams';

/** First bite that completes an unfinished stanza; doubled until it is complete. */
const BITE: u32 = 512;

/** The stream whose unscanned bytes lie in the input window, or 0. */
let owner: usize = 0;
let inputAt: usize = 0;
let inputEnd: usize = 0;

/** Sets the memory of `bytes` bytes up. Everything in it must be zero. */
export function init(bytes: usize): void {
  memory.fill(ENV, 0, CLASS - ENV);
  memory.fill(FREE_LISTS, 0, 64);
  initClasses();
  initWords();
  initStreams(bytes);
}

/** A new stream's handle, or 0 when there is no room. */
export function open(framed: bool, stanzaBytes: u32, depth: i32, attributes: i32): u32 {
  return openStream(framed ? FRAMED : 0, stanzaBytes, depth, attributes);
}

export function close(handle: u32): void {
  const s = recordOf(handle);
  if (!s) return;
  if (owner == s) owner = 0;
  closeStream(s);
}

function failed(s: usize, code: i32): i32 {
  dropBuffer(s);
  dropSaved(s);
  if (owner == s) owner = 0;
  setPhase(s, FAILED);
  store<u8>(s, <u8>code, S_FAULT);
  return ERROR;
}

/** What went wrong with a stream (one of the F_ numbers), 0 when nothing did. */
export function faultOf(handle: u32): i32 {
  const s = recordOf(handle);
  return s ? load<u8>(s, S_FAULT) : F_LOST;
}

function setRest(bytes: usize): void {
  store<usize>(ENV, bytes, E_REST);
}

/** Scans the input window from `inputAt`; keeps what is cut off there. */
function scanInput(s: usize): i32 {
  owner = 0;
  const event = scan(s, inputAt, inputEnd);
  if (event == ERROR) return failed(s, fault);
  inputAt = cursor;
  const left = <u32>(inputEnd - cursor);
  if (event != NEED_MORE) {
    if (left) owner = s;
    setRest(left);
  } else if (left) {
    if (!append(s, cursor, left)) return failed(s, fault);
    mark(s, STARVED);
  }
  return event;
}

/** Scans the stream's buffer. */
function scanBuffer(s: usize): i32 {
  const buffer = load<usize>(s, S_BUFFER);
  unmark(s, STARVED);
  const event = scan(s, buffer + load<u32>(s, S_HEAD), buffer + load<u32>(s, S_TAIL));
  if (event == ERROR) return failed(s, fault);
  store<usize>(s, cursor - buffer, S_HEAD);
  const left = buffered(s);
  if (!left) dropBuffer(s);
  else if (event == NEED_MORE) mark(s, STARVED);
  setRest(left);
  return event;
}

/** Completes what is unfinished in the buffer with as little of the input as it takes. */
function complete(s: usize, length: u32): i32 {
  let taken: u32 = 0;
  let bite = has(s, FRAMED) ? length : BITE;
  while (taken < length) {
    const n = min(bite, length - taken);
    if (!append(s, INPUT + taken, n)) return failed(s, fault);
    taken += n;
    bite <<= 1;
    const event = scanBuffer(s);
    if (event == ERROR) return ERROR;
    if (event == NEED_MORE && load<usize>(s, S_BUFFER)) continue;
    inputAt = INPUT + taken - buffered(s);
    inputEnd = INPUT + length;
    dropBuffer(s);
    if (event == NEED_MORE) return scanInput(s);
    if (inputAt < inputEnd) owner = s;
    setRest(inputEnd - inputAt);
    return event;
  }
  return NEED_MORE;
}

function take(s: usize, length: u32): i32 {
  if (has(s, HELD) || (load<usize>(s, S_BUFFER) && !has(s, STARVED))) {
    if (!append(s, INPUT, length)) return failed(s, fault);
    return has(s, HELD) ? NEED_MORE : scanBuffer(s);
  }
  if (load<usize>(s, S_BUFFER)) return complete(s, length);
  inputAt = INPUT;
  inputEnd = INPUT + length;
  return scanInput(s);
}

/** Takes the first `length` bytes of the input window for a stream; with `last` they end a frame. */
export function feed(handle: u32, length: u32, last: bool): i32 {
  if (owner) failed(owner, F_LOST); // its rest was overwritten by what is fed now
  const s = recordOf(handle);
  setRest(0);
  if (!s) return ERROR;
  const phase = phaseOf(s);
  if (phase == FAILED) return ERROR;
  if (phase == CLOSED) return NEED_MORE;
  const event = take(s, min(length, <u32>INPUT_BYTES));
  if (!last || event == ERROR) return event;
  const ended = endFrameOf(s);
  return ended == ERROR ? ERROR : event;
}

function endFrameOf(s: usize): i32 {
  if (has(s, HELD) || (load<usize>(s, S_BUFFER) && !has(s, STARVED))) {
    return appendFrameEnd(s) ? NEED_MORE : failed(s, fault);
  }
  if (phaseOf(s) != EPILOG) return failed(s, F_FRAME);
  setPhase(s, FRESH);
  return NEED_MORE;
}

/** The frame being fed is complete (framed streams): an error when its document is not. */
export function endFrame(handle: u32): i32 {
  const s = recordOf(handle);
  if (!s || phaseOf(s) == FAILED) return ERROR;
  return has(s, FRAMED) ? endFrameOf(s) : NEED_MORE;
}

/** Goes on after an event, or after `hold`. */
export function next(handle: u32): i32 {
  const s = recordOf(handle);
  setRest(0);
  if (!s || phaseOf(s) == FAILED) return ERROR;
  unmark(s, HELD);
  if (phaseOf(s) == CLOSED) {
    discardRest(s);
    return NEED_MORE;
  }
  if (owner == s) return scanInput(s);
  if (load<usize>(s, S_BUFFER) && !has(s, STARVED)) return scanBuffer(s);
  if (phaseOf(s) == EMPTY) return scan(s, INPUT, INPUT);
  return NEED_MORE;
}

/** Sets the unscanned bytes aside until `next`; ERROR when they are too many. */
export function hold(handle: u32): i32 {
  const s = recordOf(handle);
  if (!s || phaseOf(s) == FAILED) return ERROR;
  mark(s, HELD);
  if (owner == s) {
    owner = 0;
    if (!append(s, inputAt, <u32>(inputEnd - inputAt))) return failed(s, fault);
  }
  return NEED_MORE;
}

function discardRest(s: usize): u32 {
  let n = buffered(s);
  if (owner == s) {
    n += <u32>(inputEnd - inputAt);
    owner = 0;
  }
  dropBuffer(s);
  dropSaved(s);
  return n;
}

/** Drops what is not scanned yet, an unfinished stanza included; gives its length. */
export function discard(handle: u32): u32 {
  const s = recordOf(handle);
  if (!s || phaseOf(s) == FAILED) return 0;
  return discardRest(s);
}

/** A new stream begins in what follows (RFC 6120 §4.3.3), be it taken for an unfinished stanza already. */
export function restart(handle: u32): void {
  const s = recordOf(handle);
  if (!s || phaseOf(s) == FAILED) return;
  leaveScope(load<usize>(s, S_SCOPE));
  store<usize>(s, 0, S_SCOPE);
  if (has(s, FRAMED)) return;
  dropSaved(s);
  unmark(s, STARVED);
  mark(s, RESTARTED);
  setPhase(s, FRESH);
}

export function limit(handle: u32, stanzaBytes: u32): void {
  const s = recordOf(handle);
  if (s) setLimit(s, stanzaBytes);
}

/** Bytes of an unfinished stanza or of a held or not yet scanned rest. */
export function pending(handle: u32): u32 {
  const s = recordOf(handle);
  if (!s) return 0;
  return buffered(s) + (owner == s ? <u32>(inputEnd - inputAt) : 0);
}

/** Address of the text of the stream's scope (scope.ts), or 0. */
export function scopeText(handle: u32): usize {
  const s = recordOf(handle);
  const scope = s ? load<usize>(s, S_SCOPE) : 0;
  return scope ? load<usize>(scope, SCOPE_TEXT) : 0;
}

export function scopeTextBytes(handle: u32): u32 {
  const s = recordOf(handle);
  const scope = s ? load<usize>(s, S_SCOPE) : 0;
  return scope ? load<u32>(scope, SCOPE_TEXT_BYTES) : 0;
}

/** Bytes that buffers, saved scans and scopes take. */
export function used(): usize {
  return heapUsed();
}

/** Part 0: address of what is not scanned yet; part 1: its length. */
export function rest(handle: u32, part: i32): usize {
  const s = recordOf(handle);
  if (!s) return 0;
  if (owner == s) return part ? inputEnd - inputAt : inputAt;
  return part ? <usize>buffered(s) : load<usize>(s, S_BUFFER) + load<usize>(s, S_HEAD);
}
