/**
 * The envelope of a stanza: where its few routing facts lie, as addresses in the scanner's memory.
 *
 * The numbers agree with assembly/layout.ts. A range is two words: `env[E.to]` up to but not including `env[E.toEnd]`;
 * both are 0 when the thing is absent, and equal but not 0 when it is empty. Values are as the sender wrote them:
 * FLAG.escaped tells that some of them hold references.
 */
export const E = {
  /** The element, from '<' to behind its last '>'. Of a stream header or its end tag: that tag. */
  start: 0,
  end: 1,
  /** End of the root's qualified name. */
  nameEnd: 2,
  /** Just behind the '>' of the root's start tag. */
  openEnd: 3,
  to: 4,
  toEnd: 5,
  from: 6,
  fromEnd: 7,
  /** The whole attribute with the white space before it. */
  fromAttr: 8,
  fromAttrEnd: 9,
  id: 10,
  idEnd: 11,
  type: 12,
  typeEnd: 13,
  /** The root's whole default-namespace declaration with the white space before it. */
  xmlnsAttr: 14,
  xmlnsAttrEnd: 15,
  /** xml:lang */
  lang: 16,
  langEnd: 17,
  /** `version` of a stream header or of a framed <open/>. */
  version: 18,
  versionEnd: 19,
  /** Namespace name of the root; empty when it is in none. */
  rootNs: 20,
  rootNsEnd: 21,
  /** The root's name without prefix. */
  local: 22,
  localEnd: 23,
  // The next four only for an iq whose first child is {http://jabber.org/protocol/pubsub}pubsub with <publish/> first.
  /** `node` of <publish/>. */
  node: 24,
  nodeEnd: 25,
  /** The first <item/>, whole. */
  item: 26,
  itemEnd: 27,
  itemId: 28,
  itemIdEnd: 29,
  /** First child element of the first item, whole. */
  payload: 30,
  payloadEnd: 31,

  /** One of KIND. */
  kind: 32,
  /** Sum of FLAG. */
  flags: 33,
  /** 1 when the root is an empty-element tag. */
  selfClosing: 34,
  /** One of TYPE. */
  typeCode: 35,
  /** `h` of <a h='…'/>: an unsigned number, so read it as `env[E.h]! >>> 0`. */
  h: 36,
  /** Rows in the child table, at most CHILD_MAX; FLAG.childOverflow tells that there were more children. */
  childCount: 37,
  itemCount: 38,
  /** Child elements of the first item. */
  payloadCount: 39,
  /** 1 when <pubsub/> or <publish/> holds anything but items: publish-options, or what no plain publish has. */
  publishOptions: 40,
  /** Bytes of the stream that are not scanned yet: when 0, `next` has nothing to find. */
  rest: 41,
  /** The child table. */
  child: 128,
} as const;

/** A row of the child table: `env[E.child + ROW.size * i + ROW.nameS]`. */
export const ROW = {
  start: 0,
  end: 1,
  /** The name without prefix. */
  nameS: 2,
  nameE: 3,
  /** The namespace name; 0 when it is jabber:client. */
  nsS: 4,
  nsE: 5,
  size: 6,
} as const;

export const CHILD_MAX = 32;

/** iq, message and presence only in the namespace jabber:client; smRequest and smAnswer are <r/> and <a h=''/> (XEP-0198). */
export const KIND = { iq: 1, message: 2, presence: 3, other: 4, smRequest: 5, smAnswer: 6 } as const;

/** What the root's `type` attribute says. */
export const TYPE = {
  none: 0,
  get: 1,
  set: 2,
  result: 3,
  error: 4,
  chat: 5,
  normal: 6,
  headline: 7,
  groupchat: 8,
  unavailable: 9,
  subscribe: 10,
  subscribed: 11,
  unsubscribe: 12,
  unsubscribed: 13,
  probe: 14,
  unknown: 15,
} as const;

export const FLAG = {
  /**
   * The value of a fact (to, from, id, type, version, lang, node, itemId or a namespace name of the root or a child)
   * is not what its bytes are: it has references, or tabs or line ends that mean spaces (XML 1.0 §3.3.3).
   */
  escaped: 1,
  /** A byte beyond ASCII is in one of the attributes just named. */
  nonAscii: 2,
  /**
   * The stanza uses a prefix from the stream header, or an unprefixed element's namespace is the header's default
   * and not jabber:client: it cannot be copied verbatim to another stream.
   */
  streamScope: 4,
  /** The publish payload uses a namespace binding from outside itself. */
  payloadScope: 8,
  /** The root's name has a prefix. */
  prefixedRoot: 16,
  /** There are more than CHILD_MAX children. */
  childOverflow: 32,
  /** <open/> or <close/> in urn:ietf:params:xml:ns:xmpp-framing (RFC 7395). */
  framing: 64,
} as const;
