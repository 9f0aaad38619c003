/** Exit codes of the command line. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** Ends a command with a message for a person; `hint` says what to do. */
export class CliError extends Error {
  constructor(
    message: string,
    readonly hint?: string,
    readonly code: number = EXIT.failed,
  ) {
    super(message);
    this.name = 'CliError';
  }
}

/** What to do about the errors of the system that operators meet. */
const REMEDIES: Record<string, string> = {
  EACCES: 'it belongs to another user: run this as that user, or as root',
  EPERM: 'it belongs to another user: run this as that user, or as root',
  EROFS: 'the file system is read-only: name another folder',
  ENOSPC: 'the disk is full: make room there',
  EDQUOT: 'the quota of the disk is used up: make room there',
  ENOTDIR: 'a part of that path is a file: name another folder',
  EMFILE: 'too many files are open: raise the limit (ulimit -n)',
};

/** The system's refusal as a sentence, undefined for any other error: a stack trace would tell an operator nothing. */
export function refusalOfSystem(error: unknown): CliError | undefined {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return undefined;
  return new CliError(message, REMEDIES[code]);
}
