// Where a tag ends that did not arrive whole. A tag is scanned once it is complete; until then each new byte is only
// looked at here, so that the work stays linear however the bytes come.

/** After `seek` found no end: where to go on, and inside which quote (0: none). */
export let seekAt: usize = 0;
export let seekQuote: u32 = 0;

/**
 * Looks in [from, end) for the end of a tag whose '<' lies before. False when there is none yet. A '<' or NUL ends it
 * too: both are illegal in a tag, even quoted, so scanning the tag will report what is wrong.
 */
export function seek(from: usize, end: usize, quote: u32): bool {
  for (; from < end; from++) {
    const c = <u32>load<u8>(from);
    if (c == 0x3c || c == 0) return true;
    if (quote) {
      if (c == quote) quote = 0;
    } else if (c == 0x3e) return true;
    else if (c == 0x27 || c == 0x22) quote = c;
  }
  seekAt = from;
  seekQuote = quote;
  return false;
}
