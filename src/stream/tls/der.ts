/** One element of DER (X.690 §8.1): its identifier octet and where its contents lie. */
export interface Der {
  tag: number;
  start: number;
  end: number;
}

export const TAG = {
  integer: 0x02,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  sequence: 0x30,
  /** Context-specific, constructed: `[number]`. */
  context: (number: number) => 0xa0 | number,
} as const;

/** Reads the element at `at`; undefined when it does not lie within `end`. Identifiers of one octet only. */
export function readDer(bytes: Uint8Array, at: number, end: number): Der | undefined {
  if (at + 2 > end) return undefined;
  const first = bytes[at + 1];
  let start = at + 2;
  let length = first;
  if (first >= 0x80) {
    const octets = first & 0x7f;
    if (octets === 0 || octets > 4 || start + octets > end) return undefined;
    length = 0;
    for (let i = 0; i < octets; i++) length = length * 256 + bytes[start + i];
    start += octets;
  }
  if (start + length > end) return undefined;
  return { tag: bytes[at], start, end: start + length };
}

/** The elements inside `outer`, as far as they are well-formed. */
export function* childrenOf(bytes: Uint8Array, outer: { start: number; end: number }): Generator<Der> {
  for (let at = outer.start; at < outer.end;) {
    const child = readDer(bytes, at, outer.end);
    if (child === undefined) return;
    yield child;
    at = child.end;
  }
}

/** The first element with that tag inside `outer`. */
export function childOf(bytes: Uint8Array, outer: Der | undefined, tag: number): Der | undefined {
  if (outer === undefined) return undefined;
  for (const child of childrenOf(bytes, outer)) if (child.tag === tag) return child;
  return undefined;
}

/** Contents as hexadecimal digits: what object identifiers are compared by. */
export function hexOf(bytes: Uint8Array, element: Der): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + element.start, element.end - element.start).toString('hex');
}
