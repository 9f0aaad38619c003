import { loadConfig } from '../config/load.js';
import { formatProblem } from '../config/problem.js';
import type { Config } from '../config/config.js';
import { CliError, EXIT } from './failure.js';

/** Options that every command takes. */
export interface GlobalOptions {
  config?: string;
  set?: string[];
}

/** The configuration of a command; warnings go to stderr, errors end the command with exit code 2. */
export function configured(options: GlobalOptions): Config {
  const { config, problems, file } = loadConfig({ file: options.config, set: options.set ?? [] });
  if (config) {
    for (const problem of problems) process.stderr.write(`${formatProblem(problem)}\n`);
    return config;
  }
  const count = problems.filter((problem) => !problem.warning).length;
  const from = file === undefined ? '' : ` (read from ${file})`;
  throw new CliError(
    `${count === 1 ? 'a problem' : `${count} problems`} in the configuration${from}:\n${problems.map(formatProblem).join('\n')}`,
    undefined,
    EXIT.usage,
  );
}
