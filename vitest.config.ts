import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    // A process for each file: mappings, descriptors and fault handlers never leak into the next one.
    pool: 'forks',
    // Packages are tested as Node runs them: from dist, untransformed; stack traces still lead to the source.
    server: { deps: { external: [/\/packages\/[^/]+\/dist\//] } },
    execArgv: ['--enable-source-maps'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // A rejected promise nobody waits for is a bug, not noise.
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
