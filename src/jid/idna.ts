import { isIPv6 } from 'node:net';
import { bidiRule, hasRtl } from './bidi.js';
import {
  exception,
  JOIN_CONTROL,
  LETTER_DIGITS,
  mapWidth,
  OLD_HANGUL_JAMO,
  UNASSIGNED,
  type Derived,
} from './codepoints.js';
import { validInContext } from './context.js';
import { punyDecode, punyEncode } from './punycode.js';

/** Domainparts (RFC 7622 §3.2): internationalised domain names as IDNA2008 has them, IPv4 and IPv6 addresses. */

const IGNORABLE = /^[\p{DI}\p{White_Space}\p{NChar}]$/u;
/** RFC 5892 §2.4: Combining Diacritical Marks for Symbols, Musical Symbols, Ancient Greek Musical Notation. */
const IGNORABLE_BLOCK = /^[\u20d0-\u20ff\u{1d100}-\u{1d1ff}\u{1d200}-\u{1d24f}]$/u;
/** RFC 5892 §2.2: what case folding and NFKC change. */
const UNSTABLE = /^\p{CWKCF}$/u;
const LDH = /^[a-z0-9-]$/;

/** The algorithm of RFC 5892 §3, in its order. */
function property(character: string): Derived {
  const excepted = exception(character);
  if (excepted !== undefined) return excepted;
  if (UNASSIGNED.test(character)) return 'UNASSIGNED';
  if (LDH.test(character)) return 'PVALID';
  if (JOIN_CONTROL.test(character)) return 'CONTEXTJ';
  if (UNSTABLE.test(character) || IGNORABLE.test(character)) return 'DISALLOWED';
  if (IGNORABLE_BLOCK.test(character) || OLD_HANGUL_JAMO.test(character)) return 'DISALLOWED';
  return LETTER_DIGITS.test(character) ? 'PVALID' : 'DISALLOWED';
}

const MAX_LABEL = 63;
const MAX_NAME = 253;
const A_LABEL = 'xn--';
const LABEL_ASCII = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
const BEGINS_WITH_MARK = /^\p{M}/u;
/** Hyphens in the third and fourth place are kept for encodings (RFC 5890 §2.3.1, RFC 5891 §4.2.3.1). */
const RESERVED = /^..--/su;

/** A U-label by RFC 5891 §4.2 and §5.4, without the Bidi Rule, which concerns the whole name. */
function isULabel(label: string): boolean {
  if (label.normalize('NFC') !== label || label.startsWith('-') || label.endsWith('-')) return false;
  if (RESERVED.test(label) || BEGINS_WITH_MARK.test(label)) return false;
  let index = 0;
  for (const character of label) {
    const derived = property(character);
    const contextual = derived === 'CONTEXTJ' || derived === 'CONTEXTO';
    if (derived !== 'PVALID' && !(contextual && validInContext(label, index, character))) return false;
    index += character.length;
  }
  return true;
}

/** The label as it is kept and the length of its ASCII form. */
function readLabel(label: string): { label: string; ascii: number } | undefined {
  if (label.startsWith(A_LABEL)) {
    const decoded = punyDecode(label.slice(A_LABEL.length));
    // RFC 5891 §4.2.1: the A-label must be exactly what its U-label gives.
    if (decoded === undefined || /^[\0-\x7f]*$/.test(decoded) || !isULabel(decoded)) return undefined;
    return A_LABEL + punyEncode(decoded) === label ? { label: decoded, ascii: label.length } : undefined;
  }
  if (LABEL_ASCII.test(label)) return RESERVED.test(label) ? undefined : { label, ascii: label.length };
  if (/^[\0-\x7f]*$/.test(label) || !isULabel(label)) return undefined;
  return { label, ascii: A_LABEL.length + punyEncode(label).length };
}

/** `[` IPv6 address, perhaps with `%25` and a zone, `]` (RFC 3986 §3.2.2, RFC 6874 §2). */
function ipLiteral(s: string): string | undefined {
  const match = /^\[([0-9a-fA-F:.]+)(%25[A-Za-z0-9\-._~]+)?\]$/.exec(s);
  return match && isIPv6(match[1]!) ? `[${match[1]!.toLowerCase()}${match[2] ?? ''}]` : undefined;
}

/** Longer input cannot shrink to a legal name: no mapping shortens a string to less than a third. */
const MAX_INPUT = 3 * MAX_NAME;
const SIMPLE = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*$/;
const LONG_LABEL = /[^.]{64}/;

/** Of Cherokee the capitals are the stable form, valid in labels, and their lower case is not. */
const CASED = /[^\u13a0-\u13f5]+/g;

/** Prepares and enforces a domainpart: U-labels, lower case, NFC, no final dot; undefined when it is not one. */
export function domainpart(s: string): string | undefined {
  // No double hyphen in SIMPLE, so neither A-labels nor reserved ones.
  if (s.length <= MAX_NAME && SIMPLE.test(s) && !LONG_LABEL.test(s)) return s;
  if (s.startsWith('[')) return ipLiteral(s);
  if (s.length > MAX_INPUT) return undefined;
  const stripped = s.replace(/[.\u3002\uff0e\uff61]$/, '');
  // RFC 5895 §2: lower case, width, NFC, then the ideographic full stop.
  const mapped = mapWidth(stripped.replace(CASED, (run) => run.toLowerCase()))
    .normalize('NFC')
    .replaceAll('\u3002', '.');
  const labels: string[] = [];
  let ascii = -1;
  for (const part of mapped.split('.')) {
    const read = readLabel(part);
    if (!read || read.ascii > MAX_LABEL) return undefined;
    labels.push(read.label);
    ascii += read.ascii + 1;
  }
  if (ascii > MAX_NAME) return undefined;
  // RFC 5893 §1.4: in a name with a right-to-left label, every label satisfies the rule.
  if (labels.some(hasRtl) && !labels.every(bidiRule)) return undefined;
  return labels.join('.');
}
