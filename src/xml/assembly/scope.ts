// The scope of a stream: the name of its root and the namespaces that its header declares. Nearly all streams have the
// same one, so scopes are interned and counted; an idle stream costs a reference. Layout: SCOPE_ in layout.ts.
import {
  DRAFT,
  DRAFT_BYTES,
  F_MEMORY,
  F_SIZE,
  NSB,
  NS_ENTRY,
  NS_NONE,
  SCOPE_BUCKETS,
  SCOPE_BUCKET_COUNT,
  SCOPE_COUNT,
  SCOPE_DEFAULT,
  SCOPE_ENTRIES,
  SCOPE_NAME_BYTES,
  SCOPE_NEXT,
  SCOPE_TEXT,
  SCOPE_TEXT_BYTES,
  SCOPE_USERS,
} from './layout';
import { allocate, release } from './heap';
import { fail, same } from './chars';
import { noNamespace } from './words';
import * as state from './state';

let draft: usize = 0;

function write(s: usize, n: usize): bool {
  if (draft + n + 1 > DRAFT + DRAFT_BYTES) return fail(F_SIZE) != 0;
  memory.copy(draft, s, n);
  store<u8>(draft + n, 0);
  draft += n + 1;
  return true;
}

/** Writes the text of the scope: root name, then prefix and namespace name of each declaration, each ended by NUL. */
function writeDraft(): bool {
  draft = DRAFT;
  if (!write(state.nameStart, state.nameEnd - state.nameStart)) return false;
  for (let b = NSB + NS_ENTRY; b < state.nsTop; b += NS_ENTRY) {
    const s = load<usize>(b, 8);
    if (!write(load<usize>(b), load<u32>(b, 4)) || !write(s, load<usize>(b, 12) - s)) return false;
  }
  return true;
}

function bucketOf(n: usize): usize {
  let hash: u32 = 0x811c9dc5;
  for (let p = DRAFT; p < DRAFT + n; p++) hash = (hash ^ load<u8>(p)) * 0x01000193;
  return SCOPE_BUCKETS + ((hash % SCOPE_BUCKET_COUNT) << 2);
}

function copyBinding(to: usize, from: usize, prefix: usize, text: usize): void {
  const length = load<usize>(from, 12) - load<usize>(from, 8);
  store<usize>(to, prefix);
  store<u32>(to, load<u32>(from, 4), 4);
  store<usize>(to, text, 8);
  store<usize>(to, text + length, 12);
  store<i32>(to, load<i32>(from, 16), 16);
  store<usize>(to, 0, 20);
  store<u32>(to, load<u32>(from, 24), 24);
}

/** The binding of an absent default namespace. */
export function noDefault(binding: usize): void {
  const none = noNamespace();
  memory.fill(binding, 0, NS_ENTRY);
  store<usize>(binding, none, 8);
  store<usize>(binding, none, 12);
  store<i32>(binding, NS_NONE, 16);
}

/** The scope that the header's start tag (just scanned) makes, with one user more; 0 when there is no room. */
export function internScope(): usize {
  if (!writeDraft()) return 0;
  const n = <u32>(draft - DRAFT);
  const bucket = bucketOf(n);
  for (let s = load<usize>(bucket); s; s = load<usize>(s, SCOPE_NEXT)) {
    if (load<u32>(s, SCOPE_TEXT_BYTES) == n && same(load<usize>(s, SCOPE_TEXT), DRAFT, n)) {
      store<u32>(s, load<u32>(s, SCOPE_USERS) + 1, SCOPE_USERS);
      return s;
    }
  }
  const entries = state.nsTop - NSB; // one too many when there is no default or it is counted: room to spare
  const scope = allocate(SCOPE_ENTRIES + entries + n + 16);
  if (!scope) return fail(F_MEMORY);
  const text = scope + SCOPE_ENTRIES + entries;
  memory.copy(text, DRAFT, n);
  store<u32>(scope, 1, SCOPE_USERS);
  store<usize>(scope, load<usize>(bucket), SCOPE_NEXT);
  store<usize>(bucket, scope);
  store<u32>(scope, n, SCOPE_TEXT_BYTES);
  store<usize>(scope, text, SCOPE_TEXT);
  const name = <u32>(state.nameEnd - state.nameStart);
  store<u32>(scope, name, SCOPE_NAME_BYTES);
  noDefault(scope + SCOPE_DEFAULT);
  let at = text + name + 1;
  let entry = scope + SCOPE_ENTRIES;
  for (let b = NSB + NS_ENTRY; b < state.nsTop; b += NS_ENTRY) {
    const prefix = load<u32>(b, 4);
    const named = at + prefix + 1;
    if (prefix) {
      copyBinding(entry, b, at, named);
      entry += NS_ENTRY;
    } else copyBinding(scope + SCOPE_DEFAULT, b, 0, named);
    at = named + (load<usize>(b, 12) - load<usize>(b, 8)) + 1;
  }
  store<u32>(scope, <u32>((entry - scope - SCOPE_ENTRIES) / NS_ENTRY), SCOPE_COUNT);
  return scope;
}

/** One user less. */
export function leaveScope(scope: usize): void {
  if (!scope) return;
  const users = load<u32>(scope, SCOPE_USERS) - 1;
  store<u32>(scope, users, SCOPE_USERS);
  if (users) return;
  const n = load<u32>(scope, SCOPE_TEXT_BYTES);
  memory.copy(DRAFT, load<usize>(scope, SCOPE_TEXT), n);
  let link = bucketOf(n);
  while (load<usize>(link) != scope) link = load<usize>(link) + SCOPE_NEXT;
  store<usize>(link, load<usize>(scope, SCOPE_NEXT));
  release(scope);
}
