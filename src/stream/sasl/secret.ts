import { createHmac, randomBytes } from 'node:crypto';
import { link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const SECRET_BYTES = 32;

/**
 * The server's own secret, kept in `data_dir/sasl.secret` (mode 0600) and made at the first start. It has to outlive
 * restarts: a salt that changed with one would tell which accounts do not exist. Safe to call from several processes at once:
 * all get the same. `made` is what a first start would make. Rejects with an error that names the file when it cannot be read or written.
 */
export async function serverSecret(dataDir: string, made: Buffer = randomBytes(SECRET_BYTES)): Promise<Buffer> {
  const file = join(dataDir, 'sasl.secret');
  const draft = `${file}.${process.pid}.${randomBytes(6).toString('hex')}`;
  await mkdir(dataDir, { recursive: true });
  const kept = await readSecret(file);
  if (kept) return kept;
  await writeFile(draft, made.toString('hex'), { mode: 0o600, flag: 'wx' });
  // A link appears whole or not at all, and never replaces another process's.
  await link(draft, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  await unlink(draft);
  return (await readSecret(file))!;
}

/** A key for one purpose, from the secret. */
export function subkey(secret: Buffer, purpose: string): Buffer {
  return createHmac('sha256', secret).update(purpose).digest();
}

async function readSecret(file: string): Promise<Buffer | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  if (text === undefined) return undefined;
  const secret = Buffer.from(text.trim(), 'hex');
  if (secret.length !== SECRET_BYTES) {
    throw new Error(`${file} is damaged: remove it, and a new secret is made at the next start`);
  }
  return secret;
}
