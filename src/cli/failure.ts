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
