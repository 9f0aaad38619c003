#!/usr/bin/env node
import { run } from './cli/program.js';

// A reader that closes the pipe early (`thrum user list | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await run(process.argv.slice(2));
