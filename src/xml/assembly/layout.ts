// Where everything lies in the memory, and the numbers that are shared with envelope.ts (keep the two in step).
// All working storage is at fixed addresses, so that the hot path addresses it with constants.

/** Envelope of the last event: 128 words, of which the first POINTERS are addresses. Seen from JS as `env`. */
export const ENV: usize = 0x400;
/** Child table: CHILD_MAX rows of ROW_BYTES, directly behind the envelope. */
export const ROWS: usize = 0x600;
export const ROW_BYTES: usize = 24;
export const CHILD_MAX: i32 = 32;
/** Open elements: name address, name length, first namespace binding; 16 bytes each. */
export const STACK: usize = 0x1000;
export const STACK_ENTRY: usize = 16;
export const DEPTH_MAX: i32 = 255;
/** Namespace bindings in scope, innermost last; the first entry stands for the stream's default namespace. */
export const NSB: usize = 0x2000;
export const NSB_END: usize = 0x3000;
export const NS_ENTRY: usize = 32;
/** Attributes of the start tag being scanned; 32 bytes each. */
export const ATTR: usize = 0x4000;
export const ATTR_ENTRY: usize = 32;
export const ATTR_MAX: i32 = 255;
/** A stream header's declarations while they are being interned (see scope.ts). */
export const DRAFT: usize = 0x6000;
export const DRAFT_BYTES: usize = 0x800;
export const SCOPE_BUCKETS: usize = 0x7000;
export const SCOPE_BUCKET_COUNT: u32 = 256;
// A scope (scope.ts): users, next in bucket, bytes of text, …, number of prefixes, name of the root, text; then the
// default binding and the bindings of prefixes.
export const SCOPE_USERS: usize = 0;
export const SCOPE_NEXT: usize = 4;
export const SCOPE_TEXT_BYTES: usize = 8;
export const SCOPE_TEXT: usize = 12;
export const SCOPE_COUNT: usize = 16;
export const SCOPE_NAME_BYTES: usize = 20;
export const SCOPE_DEFAULT: usize = 32;
export const SCOPE_ENTRIES: usize = 64;
/** Heads of the heap's free lists, one word per order. */
export const FREE_LISTS: usize = 0x7400;
/** Character classes of the 256 bytes. */
export const CLASS: usize = 0x7800;
/** The binding of the `xml` prefix. */
export const XML_BINDING: usize = 0x7900;
/** Well-known strings as bytes, written once by `init`; the compiler's own data lies at 0xc000 (--memoryBase). */
export const WORDS: usize = 0x8000;
/** The window that callers copy network bytes into; the byte behind it may be overwritten by a sentinel. */
export const INPUT: usize = 0x10000;
export const INPUT_BYTES: usize = 0x10000;
/** Stream records, then the heap. */
export const STREAMS: usize = 0x20100;
/** Bytes at the very end of the memory that 16-byte loads may run over. */
export const TAIL_PAD: usize = 256;

// Envelope fields, as byte offsets from ENV. First the addresses…
export const E_START: usize = 0;
export const E_END: usize = 4;
export const E_NAME_END: usize = 8;
export const E_OPEN_END: usize = 12;
export const E_TO: usize = 16;
export const E_FROM: usize = 24;
export const E_FROM_ATTR: usize = 32;
export const E_ID: usize = 40;
export const E_TYPE: usize = 48;
export const E_XMLNS_ATTR: usize = 56;
export const E_LANG: usize = 64;
export const E_VERSION: usize = 72;
export const E_ROOT_NS: usize = 80;
export const E_LOCAL: usize = 88;
export const E_NODE: usize = 96;
export const E_ITEM: usize = 104;
export const E_ITEM_ID: usize = 112;
export const E_PAYLOAD: usize = 120;
export const POINTERS: i32 = 32;
// …then the numbers.
export const E_KIND: usize = 128;
export const E_FLAGS: usize = 132;
export const E_SELF_CLOSING: usize = 136;
export const E_TYPE_CODE: usize = 140;
export const E_H: usize = 144;
export const E_CHILD_COUNT: usize = 148;
export const E_ITEM_COUNT: usize = 152;
export const E_PAYLOAD_COUNT: usize = 156;
export const E_PUBLISH_OPTIONS: usize = 160;
export const E_REST: usize = 164;
/** Bytes of the envelope that are cleared per stanza and saved with an unfinished one (a multiple of 16). */
export const ENV_BYTES: usize = 176;

export const NEED_MORE: i32 = 0;
export const STREAM_OPEN: i32 = 1;
export const STANZA: i32 = 2;
export const STREAM_CLOSE: i32 = 3;
export const ERROR: i32 = 4;

export const KIND_IQ: i32 = 1;
export const KIND_MESSAGE: i32 = 2;
export const KIND_PRESENCE: i32 = 3;
export const KIND_OTHER: i32 = 4;
export const KIND_SM_REQUEST: i32 = 5;
export const KIND_SM_ANSWER: i32 = 6;

export const FLAG_ESCAPED: i32 = 1;
export const FLAG_NON_ASCII: i32 = 2;
export const FLAG_STREAM_SCOPE: i32 = 4;
export const FLAG_PAYLOAD_SCOPE: i32 = 8;
export const FLAG_PREFIXED_ROOT: i32 = 16;
export const FLAG_CHILD_OVERFLOW: i32 = 32;
export const FLAG_FRAMING: i32 = 64;

// What went wrong; the conditions and texts are in faults.ts beside the scanner.
export const F_SYNTAX: i32 = 1;
export const F_ENCODING: i32 = 2;
export const F_CHARACTER: i32 = 3;
export const F_MISMATCH: i32 = 4;
export const F_DUPLICATE: i32 = 5;
export const F_PREFIX: i32 = 6;
export const F_DECLARATION: i32 = 7;
export const F_REFERENCE: i32 = 8;
export const F_ENTITY: i32 = 9;
export const F_RESTRICTED: i32 = 10;
export const F_TEXT: i32 = 11;
export const F_SIZE: i32 = 12;
export const F_DEPTH: i32 = 13;
export const F_ATTRIBUTES: i32 = 14;
export const F_BINDINGS: i32 = 15;
export const F_FRAME: i32 = 16;
export const F_FRAME_START: i32 = 17;
export const F_MEMORY: i32 = 18;
export const F_LOST: i32 = 19;
export const F_HELD: i32 = 20;

// Namespaces that the envelope is built on.
export const NS_OTHER: i32 = 0;
export const NS_CLIENT: i32 = 1;
export const NS_PUBSUB: i32 = 2;
export const NS_SM: i32 = 3;
export const NS_FRAMING: i32 = 4;
export const NS_NONE: i32 = 5;
export const NS_XML: i32 = 6;
export const NS_XMLNS: i32 = 7;
