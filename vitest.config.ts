import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/build.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Two cores: real engines, Redis and browsers run beside the tests.
    maxWorkers: 2,
    // Engines, browsers and processes that are killed share the machine of CI: what fails is tried once more, and
    // .ci/test.sh names it at the end.
    retry: process.env['CI'] ? 1 : 0,
  },
});
