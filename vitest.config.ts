import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // Many tests start several processes, and machines are busy. What a test waits for has bounds of its own, with a sentence.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
