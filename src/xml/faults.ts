/** The stream error that a fault of the scanner means (RFC 6120 §4.9.3). */
export interface Fault {
  readonly condition: string;
  readonly text: string;
}

const fault = (condition: string, text: string): Fault => ({ condition, text });

/** By number, in the order of the F_ constants in assembly/layout.ts. */
export const FAULTS: readonly Fault[] = [
  fault('undefined-condition', 'nothing is wrong'),
  fault('not-well-formed', 'not well-formed XML'),
  fault('unsupported-encoding', 'not UTF-8'),
  fault('not-well-formed', 'a character that XML does not allow'),
  fault('not-well-formed', 'an end tag that matches no start tag'),
  fault('not-well-formed', 'an attribute is repeated'),
  fault('not-well-formed', 'a namespace prefix is not bound'),
  fault('not-well-formed', 'a forbidden namespace declaration'),
  fault('not-well-formed', 'a malformed reference'),
  fault('restricted-xml', 'only the predefined entities may be referred to'),
  fault('restricted-xml', 'comments, processing instructions and DTDs are not allowed'),
  fault('bad-format', 'text between stanzas'),
  fault('policy-violation', 'the stanza is too large'),
  fault('policy-violation', 'elements are nested too deeply'),
  fault('policy-violation', 'too many attributes in a tag'),
  fault('policy-violation', 'too many namespace declarations'),
  fault('not-well-formed', 'a frame holds exactly one XML document'),
  fault('bad-format', "a frame begins with '<'"),
  fault('resource-constraint', 'no memory left for the stanza'),
  fault('internal-server-error', 'input was overwritten before it was scanned'),
  fault('policy-violation', 'too much sent while a stanza is being handled'),
];
