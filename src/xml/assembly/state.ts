// The state of the element being scanned. It belongs to whichever stream is scanned now; between calls it is saved
// with that stream (suspend.ts) when its stanza is unfinished. Stack and bindings are addressed, not counted.
import { NSB, STACK, STACK_ENTRY } from './layout';

/** Next free entry of the stack of open elements. */
export let top: usize = STACK;
/** Next free binding. */
export let nsTop: usize = NSB;
/** Binding of the default namespace. */
export let defaultNs: usize = NSB;
/** Elements are looked at for the envelope when the stack stands here (see facts.ts). */
export let zone: usize = STACK;
/** An unprefixed element whose default namespace is bound below this one uses a binding that has to be reported. */
export let floor: usize = NSB;
/** `floor` outside a payload. */
export let baseFloor: usize = NSB;
/** Children of <pubsub/> so far. */
export let pubsubChildren: i32 = 0;
/** Inside a CDATA section. */
export let inCdata: bool = false;

/** Limits of the stream, as addresses. */
export let depthEnd: usize = 0;
export let attributeEnd: usize = 0;
/** Declarations of the stream header in scope, or 0. */
export let scope: usize = 0;

// The start tag that was just scanned.
export let tagStart: usize = 0;
export let nameStart: usize = 0;
export let nameEnd: usize = 0;
export let localStart: usize = 0;
export let tagNs: usize = 0;
export let attributesTop: usize = 0;
export let selfClosing: bool = false;

/** The stack entry at a level: 0 is the root of the stanza. */
export function level(n: i32): usize {
  return STACK + STACK_ENTRY * n;
}
