import { execFileSync } from 'node:child_process';
import { configDefaults, defineConfig } from 'vitest/config';

// What was compiled after the last setup is what is tested.
execFileSync(process.execPath, ['scripts/bundle.mjs'], { cwd: import.meta.dirname, stdio: 'inherit' });

/** Tests that mostly wait, for leases, for processes that start and die; and those that no load disturbs. */
const waiting = [
  'packages/*/test/**/*.test.ts',
  'test/chaos/{client-death,node-death,recall,stopped-client,unmount}.test.ts',
  'test/chaos/unseen-client.test.ts',
  'test/cluster/{behind,books,changing-files,copies,failures,filled-holes}.test.ts',
  'test/cluster/{home-loss,migration,migration-faults,network,restarted}.test.ts',
  'test/cluster/{stopping,store,stored-keepers,stored-storm,told-homes,told-losses}.test.ts',
  'test/coherence/*.test.ts',
  'test/durability/{broken-rules,cut,cut-canary,eviction,holes,kill-points,kill-storm,power-cases}.test.ts',
  'test/durability/{power-loss,power-storm,races,redo,refused-flush,store-damage,sync-habit}.test.ts',
  'test/examples.test.ts',
  'test/hostile/{access,bad-peers,limits,session}.test.ts',
  'test/leases/*.test.ts',
  'test/limits/{errors,events,sparse,tables}.test.ts',
  'test/model/*.test.ts',
  'test/setups/*.test.ts',
];

export default defineConfig({
  test: {
    // A process for each file: mappings, descriptors and fault handlers never leak into the next one.
    pool: 'forks',
    // Packages are tested as Node runs them, untransformed; stack traces still lead to the source.
    server: { deps: { external: [/\/packages\/[^/]+\/(build|dist)\//] } },
    execArgv: ['--enable-source-maps'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // A rejected promise nobody waits for is a bug, not noise.
    dangerouslyIgnoreUnhandledErrors: false,
    projects: [
      {
        extends: true,
        test: { name: 'three at a time', include: waiting, maxWorkers: 3, sequence: { groupOrder: 0 } },
      },
      {
        extends: true,
        test: {
          name: 'alone',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...waiting],
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
