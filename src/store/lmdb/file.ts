import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { StoreError } from '../store.js';

/** LMDB's file in its folder. */
export const FILE = 'data.mdb';

/** The first page of the file, and the one after it, say where the data end: struct MDB_meta of lmdb's mdb.c. */
const META_PAGES = [0, 1];
const MAGIC = 24;
const PAGE_SIZE = 48;
const LAST_PAGE = 144;
const TRANSACTION = 152;
const META_BYTES = 160;
const LMDB = 0xbeefc0de;

/** The last pages of a transaction may never have been written, but not so many. */
const UNWRITTEN_PAGES = 1024;

/**
 * Looks at the file before LMDB does, which maps it into memory: a file of something else, or one that lost its end, would
 * end the process.
 *
 * @throws StoreError
 */
export function checkFile(path: string): void {
  if (!existsSync(path)) return;
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    // A process that was killed while it made the file.
    if (size === 0) return;
    const page = Buffer.alloc(META_BYTES);
    let newest = { transaction: -1n, end: 0 };
    for (const number of META_PAGES) {
      readSync(file, page, 0, META_BYTES, number * page.readUInt32LE(PAGE_SIZE));
      if (page.readUInt32LE(MAGIC) !== LMDB) throw new StoreError('corrupt', 'its file begins with something else');
      const transaction = page.readBigUInt64LE(TRANSACTION);
      const pages = Number(page.readBigUInt64LE(LAST_PAGE)) + 1 - UNWRITTEN_PAGES;
      if (transaction > newest.transaction) newest = { transaction, end: pages * page.readUInt32LE(PAGE_SIZE) };
    }
    if (size < newest.end) throw new StoreError('corrupt', `${size} bytes are left of more than ${newest.end}`);
  } finally {
    closeSync(file);
  }
}
