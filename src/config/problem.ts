/** Something wrong with the configuration, with what a person needs to put it right. */
export interface Problem {
  /** `thrum.yaml:3:5`, a variable's name, an option of the command line, or `defaults`. */
  where: string;
  /** Dotted. */
  key?: string;
  what: string;
  remedy: string;
  /** The broker starts all the same. */
  warning?: boolean;
}

/** One line a problem: `thrum.yaml:3:5: c2s.port: 70000 is … → write …`. */
export function formatProblem(problem: Problem): string {
  const subject = problem.key === undefined ? problem.where : `${problem.where}: ${problem.key}`;
  return `${problem.warning ? 'warning: ' : ''}${subject}: ${problem.what}\n    → ${problem.remedy}`;
}
