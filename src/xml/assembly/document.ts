// What may stand outside stanzas, and the bounds of one stanza: the XML declaration, the stream header, white space,
// the stream's end tag; in framed mode (RFC 7395) one document per frame.
import {
  ENV,
  ENV_BYTES,
  ERROR,
  E_END,
  E_START,
  F_ENCODING,
  F_FRAME,
  F_FRAME_START,
  F_MEMORY,
  F_RESTRICTED,
  F_SIZE,
  F_SYNTAX,
  F_TEXT,
  NEED_MORE,
  NSB,
  NS_CLIENT,
  NS_ENTRY,
  SCOPE_DEFAULT,
  SCOPE_NAME_BYTES,
  SCOPE_TEXT,
  STACK,
  STANZA,
  STREAMS,
  STREAM_CLOSE,
  STREAM_OPEN,
} from './layout';
import { NAME_START, classOf, fail, isSpace } from './chars';
import { declare } from './bindings';
import { xmlDeclaration } from './declaration';
import { CUT, DONE, content, declarationAt, endTag, failedTag, seeking, stoppedAt } from './content';
import { seek, seekAt, seekQuote } from './seek';
import { startTag } from './tag';
import { internScope, noDefault } from './scope';
import {
  BODY,
  CLOSED,
  EMPTY,
  EPILOG,
  FRAMED,
  FRESH,
  PROLOG,
  RESTARTED,
  S_AT,
  S_ATTRIBUTE_END,
  S_DEPTH_END,
  S_LIMIT,
  S_PHASE,
  S_QUOTE,
  S_SAVED,
  S_SCOPE,
  S_SEEK,
  dropSaved,
  has,
  setPhase,
  unmark,
} from './streams';
import { resume, suspend } from './suspend';
import * as state from './state';

/** After `scan`: behind what was consumed. With NEED_MORE the bytes from here on have to be kept. */
export let cursor: usize = 0;

// The sentinel: data always ends in a NUL while it is scanned, wherever the limit or the data ends.
let end: usize = 0;
let covered: u8 = 0;

function guard(start: usize, hi: usize, limit: u32): void {
  end = min(hi, start + limit);
  covered = load<u8>(end);
  store<u8>(end, 0);
}

function unguard(): void {
  store<u8>(end, covered);
}

function wrong(code: i32): i32 {
  fail(code);
  return ERROR;
}

/** Starts the scan of an element. */
function begin(s: usize): void {
  const zero = i8x16.splat(0);
  for (let p = ENV; p < ENV + ENV_BYTES; p += 16) v128.store(p, zero);
  state.top = STACK;
  state.zone = STACK;
  state.nsTop = NSB + NS_ENTRY;
  state.defaultNs = NSB;
  state.pubsubChildren = 0;
  state.inCdata = false;
  const scope = load<usize>(s, S_SCOPE);
  if (scope) {
    v128.store(NSB, v128.load(scope + SCOPE_DEFAULT));
    v128.store(NSB, v128.load(scope + SCOPE_DEFAULT, 16), 16);
  } else noDefault(NSB);
  state.baseFloor = load<i32>(NSB, 16) == NS_CLIENT ? NSB : NSB + NS_ENTRY;
  state.floor = state.baseFloor;
}

/** The data was cut off: what begins at `start` has to be kept, unless it is too long already. */
function cut(s: usize, start: usize, hi: usize): i32 {
  if (hi > end) return wrong(F_SIZE);
  if (state.top > STACK && !suspend(s, start, end)) return wrong(F_MEMORY);
  store<usize>(s, stoppedAt - start, S_AT);
  store<usize>(s, seeking ? seekAt - start : 0, S_SEEK);
  store<u8>(s, <u8>seekQuote, S_QUOTE);
  cursor = start;
  return NEED_MORE;
}

/** A stanza of a frame is complete: only white space may follow it there. */
function endOfDocument(s: usize, hi: usize): i32 {
  let p = cursor;
  while (p < hi && isSpace(load<u8>(p))) p++;
  setPhase(s, EPILOG);
  if (p < hi) {
    if (!isFrameEnd(p)) return wrong(F_FRAME);
    setPhase(s, FRESH);
    p++;
  }
  cursor = p;
  return STANZA;
}

/** NUL ends a frame in a stream's buffer; in the input it is only illegal. */
function isFrameEnd(p: usize): bool {
  return load<u8>(p) == 0 && p >= STREAMS;
}

/** Scans the stanza that begins at `start` from p on. */
function stanza(s: usize, start: usize, p: usize, hi: usize): i32 {
  guard(start, hi, load<u32>(s, S_LIMIT));
  const outcome = content(p, end);
  unguard();
  if (outcome == DONE) {
    if (load<usize>(s, S_SAVED)) dropSaved(s);
    else store<usize>(s, 0, S_AT);
    cursor = stoppedAt;
    return has(s, FRAMED) ? endOfDocument(s, hi) : STANZA;
  }
  return outcome == CUT ? cut(s, start, hi) : ERROR;
}

function header(s: usize, p: usize, hi: usize): i32 {
  begin(s);
  guard(p, hi, load<u32>(s, S_LIMIT));
  const next = startTag(p);
  unguard();
  if (!next) return failedTag(p, end) == CUT ? cut(s, p, hi) : ERROR;
  state.top = STACK;
  if (state.selfClosing && !declare()) return ERROR; // its declarations went out of scope with it
  const scope = internScope();
  if (!scope) return ERROR;
  store<usize>(s, scope, S_SCOPE);
  setPhase(s, state.selfClosing ? EMPTY : BODY);
  unmark(s, RESTARTED);
  store<usize>(ENV, next, E_END);
  cursor = next;
  return STREAM_OPEN;
}

/** `</` at p outside stanzas. */
function streamEnd(s: usize, p: usize, hi: usize): i32 {
  const scope = load<usize>(s, S_SCOPE);
  if (load<u8>(s, S_PHASE) != BODY || !scope) return wrong(F_SYNTAX);
  guard(p, hi, load<u32>(s, S_LIMIT));
  const next = endTag(p, load<usize>(scope, SCOPE_TEXT), load<u32>(scope, SCOPE_NAME_BYTES));
  unguard();
  if (!next) return failedTag(p, end) == CUT ? cut(s, p, hi) : ERROR;
  setPhase(s, CLOSED);
  begin(s);
  store<usize>(ENV, p, E_START);
  store<usize>(ENV, next, E_END);
  cursor = next;
  return STREAM_CLOSE;
}

/** `<?` at p where the XML declaration may stand: gives the address behind it, 0 when wrong, 1 when cut off. */
function declaration(p: usize): usize {
  for (let i = 2; i < 6; i++) {
    const c = load<u8>(p + i);
    const expected = i == 5 ? isSpace(c) : c == (i == 2 ? 0x78 : i == 3 ? 0x6d : 0x6c);
    if (expected) continue;
    if (p + i < end) return fail(F_RESTRICTED);
    failedTag(p, end); // cut off in it: looking for its end is as good as looking for the rest of its name
    return 1;
  }
  const next = xmlDeclaration(p);
  if (next) return next;
  return failedTag(p, end) == CUT ? 1 : 0;
}

/** Character data where none may stand. */
function stray(s: usize, c: u32): i32 {
  const phase = load<u8>(s, S_PHASE);
  if (phase == FRESH && (c == 0 || c >= 0xfe)) return wrong(F_ENCODING); // UTF-16 or UTF-32
  return wrong(phase == BODY ? F_TEXT : phase == EPILOG ? F_FRAME : F_SYNTAX);
}

/** Scans [lo, hi) until there is something to report. Resumes what was cut off; lo is then where that begins. */
export function scan(s: usize, lo: usize, hi: usize): i32 {
  state.scope = load<usize>(s, S_SCOPE);
  state.depthEnd = load<usize>(s, S_DEPTH_END);
  state.attributeEnd = load<usize>(s, S_ATTRIBUTE_END);
  if (load<u32>(s, S_SEEK)) {
    end = min(hi, lo + load<u32>(s, S_LIMIT));
    if (!seek(lo + load<u32>(s, S_SEEK), end, load<u8>(s, S_QUOTE))) {
      if (hi > end) return wrong(F_SIZE);
      store<usize>(s, seekAt - lo, S_SEEK);
      store<u8>(s, <u8>seekQuote, S_QUOTE);
      cursor = lo;
      return NEED_MORE;
    }
    store<u32>(s, 0, S_SEEK);
  }
  if (load<usize>(s, S_SAVED)) {
    resume(s, lo);
    state.baseFloor = load<i32>(NSB, 16) == NS_CLIENT ? NSB : NSB + NS_ENTRY;
    return stanza(s, lo, lo + load<u32>(s, S_AT), hi);
  }
  const framed = has(s, FRAMED);
  let p = lo;
  while (true) {
    const phase = load<u8>(s, S_PHASE);
    if (phase == EMPTY) {
      setPhase(s, CLOSED);
      cursor = p;
      return STREAM_CLOSE;
    }
    if (p >= hi) {
      cursor = hi;
      return NEED_MORE;
    }
    const c = <u32>load<u8>(p);
    if (c != 0x3c) {
      if (isSpace(c)) {
        if (phase == FRESH && framed) return wrong(F_FRAME_START);
        if (phase == FRESH && !has(s, RESTARTED)) setPhase(s, PROLOG);
        p++;
        continue;
      }
      if (!framed || !isFrameEnd(p)) return stray(s, c);
      if (phase != EPILOG) return wrong(F_FRAME);
      setPhase(s, FRESH);
      p++;
      continue;
    }
    if (p + 1 == hi) {
      cursor = p;
      return NEED_MORE;
    }
    const d = <u32>load<u8>(p, 1);
    if (classOf(d) & NAME_START) {
      if (framed) {
        if (phase == EPILOG) return wrong(F_FRAME);
      } else if (phase != BODY) return header(s, p, hi);
      begin(s);
      return stanza(s, p, p, hi);
    }
    if (d == 0x2f) return streamEnd(s, p, hi);
    if (d == 0 && phase == FRESH) return wrong(F_ENCODING);
    if (d != 0x21 && d != 0x3f) return wrong(F_SYNTAX);
    state.top = STACK;
    guard(p, hi, load<u32>(s, S_LIMIT));
    let next: usize = 0;
    if (d == 0x3f && phase == FRESH) next = declaration(p);
    else if (declarationAt(p, end, false) == CUT) next = 1;
    unguard();
    if (next == 0) return ERROR;
    if (next == 1) return cut(s, p, hi);
    setPhase(s, PROLOG);
    p = next;
  }
}
