/**
 * Decodes base64 as RFC 4648 §4 writes it: no white space, padded, padding bits zero (RFC 6120 §6.3.5).
 * Undefined for anything else, which SASL calls incorrect-encoding.
 */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
