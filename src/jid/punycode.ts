/** Punycode (RFC 3492): the ASCII form of one label, without the `xn--`. */

const BASE = 36;
const T_MIN = 1;
const T_MAX = 26;
const SKEW = 38;
const DAMP = 700;
const INITIAL_BIAS = 72;
const INITIAL_N = 128;

/** §6.1 */
function adapt(delta: number, points: number, first: boolean): number {
  let rest = first ? Math.floor(delta / DAMP) : delta >> 1;
  rest += Math.floor(rest / points);
  let k = 0;
  for (; rest > ((BASE - T_MIN) * T_MAX) >> 1; k += BASE) rest = Math.floor(rest / (BASE - T_MIN));
  return k + Math.floor(((BASE - T_MIN + 1) * rest) / (rest + SKEW));
}

const threshold = (k: number, bias: number): number => Math.min(Math.max(k - bias, T_MIN), T_MAX);

/** The value of a basic code point, from `a` = 0 to `9` = 35. */
function toDigit(value: number): string {
  return value < 26 ? String.fromCharCode(0x61 + value) : String(value - 26);
}

function fromDigit(character: string): number | undefined {
  if (/^[a-z]$/.test(character)) return character.charCodeAt(0) - 0x61;
  return /^[0-9]$/.test(character) ? 26 + Number(character) : undefined;
}

/** §6.3 */
export function punyEncode(label: string): string {
  const points = Array.from(label, (character) => character.codePointAt(0)!);
  const basic = points.filter((point) => point < INITIAL_N);
  let out = String.fromCodePoint(...basic);
  let handled = basic.length;
  if (handled > 0) out += '-';
  let n = INITIAL_N;
  let delta = 0;
  let bias = INITIAL_BIAS;
  while (handled < points.length) {
    const next = Math.min(...points.filter((point) => point >= n));
    delta += (next - n) * (handled + 1);
    n = next;
    for (const point of points) {
      if (point < n) delta++;
      if (point !== n) continue;
      let q = delta;
      for (let k = BASE; ; k += BASE) {
        const t = threshold(k, bias);
        if (q < t) break;
        out += toDigit(t + ((q - t) % (BASE - t)));
        q = Math.floor((q - t) / (BASE - t));
      }
      out += toDigit(q);
      bias = adapt(delta, handled + 1, handled === basic.length);
      delta = 0;
      handled++;
    }
    delta++;
    n++;
  }
  return out;
}

/** §6.2; undefined when it is not Punycode. */
export function punyDecode(encoded: string): string | undefined {
  const dash = encoded.lastIndexOf('-');
  const points = Array.from(encoded.slice(0, Math.max(dash, 0)), (character) => character.codePointAt(0)!);
  let n = INITIAL_N;
  let i = 0;
  let bias = INITIAL_BIAS;
  for (let at = dash < 0 ? 0 : dash + 1; at < encoded.length;) {
    const before = i;
    for (let k = BASE, weight = 1; ; k += BASE) {
      const value = at < encoded.length ? fromDigit(encoded[at++]!) : undefined;
      if (value === undefined) return undefined;
      i += value * weight;
      const t = threshold(k, bias);
      if (value < t) break;
      weight *= BASE - t;
      if (i > Number.MAX_SAFE_INTEGER / BASE || weight > 0x7fffffff) return undefined;
    }
    const length = points.length + 1;
    bias = adapt(i - before, length, before === 0);
    n += Math.floor(i / length);
    i %= length;
    if (n > 0x10ffff) return undefined;
    points.splice(i++, 0, n);
  }
  return String.fromCodePoint(...points);
}
