import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline/promises';
import { CliError, EXIT } from './failure.js';

export interface PasswordOptions {
  passwordStdin?: boolean;
  generate?: boolean;
}

/** A new password as the options say: made, from stdin, or asked for twice. `made` ones must be shown to the person. */
export async function newPassword(
  user: string,
  options: PasswordOptions,
): Promise<{ password: string; made: boolean }> {
  if (options.generate && options.passwordStdin)
    throw new CliError('--generate and --password-stdin exclude each other', undefined, EXIT.usage);
  if (options.generate) return { password: generatePassword(), made: true };
  if (options.passwordStdin) return { password: notEmpty(await firstLine()), made: false };
  if (!process.stdin.isTTY)
    throw new CliError(
      'there is no terminal to ask for the password',
      'use --password-stdin or --generate',
      EXIT.usage,
    );
  const password = notEmpty(await askSecret(`Password for ${user}: `));
  if ((await askSecret('The same again: ')) !== password) throw new CliError('the two passwords differ');
  return { password, made: false };
}

/** 120 random bits in letters, digits, - and _. */
export function generatePassword(): string {
  return randomBytes(15).toString('base64url');
}

function notEmpty(password: string): string {
  if (password === '') throw new CliError('the password is empty');
  return password;
}

async function firstLine(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8').split(/\r?\n/)[0]!;
}

/** Asks a yes/no question; without a terminal the answer must come from `--yes`. */
export async function confirm(question: string, yes: boolean | undefined): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY) throw new CliError('there is no terminal to ask on', 'add --yes to do it', EXIT.usage);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new CliError('nothing was changed');
  } finally {
    terminal.close();
  }
}

/** Reads a line from the terminal without showing it. */
export async function askSecret(question: string): Promise<string> {
  const { stdin, stderr } = process;
  // Before the question shows: nothing that is typed in answer to it may be echoed.
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  stdin.resume();
  stderr.write(question);
  let secret = '';
  try {
    for await (const typed of terminalInput(stdin)) {
      for (const key of typed) {
        if (key === '\r' || key === '\n') return secret;
        if (key === '\u0003') throw new CliError('interrupted', undefined, 130);
        if (key === '\u0004' && secret === '') throw new CliError('no password was given');
        if (key === '\u007f' || key === '\b') secret = Array.from(secret).slice(0, -1).join('');
        else if (key === '\u0015') secret = '';
        else if (key >= ' ') secret += key;
      }
    }
    throw new CliError('no password was given');
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}

/** Chunks typed, without destroying stdin when the reader stops. */
async function* terminalInput(stdin: NodeJS.ReadStream): AsyncGenerator<string> {
  for (;;) {
    const chunk = await new Promise<string | undefined>((resolve) => {
      const done = (text?: string) => {
        stdin.off('data', done);
        stdin.off('end', end);
        resolve(text);
      };
      const end = () => done();
      stdin.on('data', done);
      stdin.on('end', end);
    });
    if (chunk === undefined) return;
    yield chunk;
  }
}
