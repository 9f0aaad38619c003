/**
 * Write buffers shared by all connections of a worker. A stanza is copied from the outbox into one of them and the socket
 * writes it before the call returns, so it is free again at once. Where the kernel did not take everything, the socket
 * keeps the buffer and {@link detach} puts a fresh one in its place; small batches use small buffers, so that what a
 * slow reader holds on to is in proportion to what waits for it.
 */
const SIZES = [4 * 1024, 64 * 1024, 256 * 1024] as const;
const buffers: (Buffer | undefined)[] = [undefined, undefined, undefined];

/** The smallest write buffer for `bytes`, or the largest there is. */
export function scratch(bytes: number): Buffer {
  const size = bytes <= SIZES[0] ? 0 : bytes <= SIZES[1] ? 1 : 2;
  return (buffers[size] ??= Buffer.allocUnsafeSlow(SIZES[size]!));
}

/** The buffer is in use beyond the call. */
export function detach(buffer: Buffer): void {
  const size = buffers.indexOf(buffer);
  if (size >= 0) buffers[size] = undefined;
}
