import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { openStore } from '../../src/store/open.js';
import { conformance } from './conformance.js';

const folder = mkdtempSync(join(tmpdir(), 'thrum-store-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

for (const durability of ['commit', 'flush'] as const)
  conformance(`the LMDB store (${durability})`, () =>
    openStore({ kind: 'lmdb', path: join(folder, durability), durability }),
  );
