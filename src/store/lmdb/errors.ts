import { StoreError } from '../store.js';
import type { Environment } from './environment.js';

type Reason = StoreError['reason'];

/** What LMDB's and the system's error numbers mean for the store (lmdb.h, errno.h). */
const REASONS: Record<number, Reason> = {
  5: 'full', // EIO, which is what LMDB makes of a write that ends at the end of the disk
  27: 'full', // EFBIG
  28: 'full', // ENOSPC
  122: 'full', // EDQUOT
  [-30792]: 'full', // MDB_MAP_FULL
  [-30788]: 'full', // MDB_TXN_FULL
  [-30797]: 'corrupt', // MDB_PAGE_NOTFOUND
  [-30796]: 'corrupt', // MDB_CORRUPTED
  [-30794]: 'corrupt', // MDB_VERSION_MISMATCH
  [-30793]: 'corrupt', // MDB_INVALID
};

/** Any error as the store's own. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const { code, message } = error as { code?: unknown; message?: string };
  const reason = REASONS[Number(code)] ?? 'unavailable';
  const text = message ?? String(error);
  return new StoreError(reason, reason === 'full' ? `The disk is full (${text}).` : text, { cause: error });
}

/** lmdb tells of a failed commit with one error, and why in another that follows. */
export async function commitError(error: unknown): Promise<StoreError> {
  const { commitError: why } = error as { commitError?: Promise<never> };
  if (why === undefined) return storeError(error);
  return why.then(
    () => storeError(error),
    (reason: unknown) => storeError(reason),
  );
}

/** Reads what is committed now, by any process. */
export async function read<T>(environment: Environment, work: () => T): Promise<T> {
  try {
    environment.fresh();
    return work();
  } catch (error) {
    throw storeError(error);
  }
}
