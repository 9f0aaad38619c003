import type { StreamFailure } from './errors.js';

export const NS_STREAM = 'http://etherx.jabber.org/streams';
export const NS_CLIENT = 'jabber:client';

/**
 * What is wrong with the names of a stream header: its qualified name, its namespace, and the default namespace that it
 * declares. Content may be in the default namespace or name its own (RFC 6120 §4.8.2).
 */
export function headerFault(root: string, namespace: string, content: string | undefined): StreamFailure | undefined {
  if (namespace !== NS_STREAM) return { condition: 'invalid-namespace', text: `the root is not in ${NS_STREAM}` };
  if (root !== 'stream' && !root.endsWith(':stream'))
    return { condition: 'bad-format', text: 'a stream header is needed' };
  if (root !== 'stream' && root !== 'stream:stream') return { condition: 'bad-namespace-prefix', text: 'use stream:' };
  if (content !== undefined && content !== NS_CLIENT && content !== NS_STREAM) {
    return { condition: 'invalid-namespace', text: `the default namespace of a client stream is ${NS_CLIENT}` };
  }
  return undefined;
}
