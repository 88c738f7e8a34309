/** What becomes durable where when nodes of a cluster have stores: each rule broken. */
import type { BrokenRule } from './broken-rules.ts';

const noticedBy = 'cluster/stored-keepers.test.ts';

export const brokenClusterRules: readonly BrokenRule[] = [
  {
    rule: 'the next home of a file does not store it',
    module: 'cluster/own-store.js',
    from: 'await writeBack.sync([ino]);',
    to: ';',
    noticedBy,
    named: 'what was synced before',
    isQuick: true,
  },
  {
    rule: 'a sync of everything is one of this node alone',
    module: 'coordinator/sync.js',
    from: '((await c.stores?.all()) ?? 0)',
    to: '0',
    noticedBy,
    named: 'a sync on any node',
  },
  {
    rule: 'what another home has is not stored before it takes the name of another file',
    module: 'coordinator/namespace.js',
    from: 'await c.stores?.file(ino);',
    to: ';',
    noticedBy,
    named: 'what takes the name',
  },
  {
    rule: 'a file that has another home leaves what was stored of it',
    module: 'cluster/replica.js',
    from: 'if (before === self)\n                endStoring(c, ino);',
    to: 'if (false)\n                ;',
    noticedBy,
    named: 'does not take the file back',
  },
  {
    rule: 'copies of other nodes’ blocks stay when own files need the memory',
    module: 'store/evictor.js',
    from: 'await this.#giveWay(missing());',
    to: ';',
    noticedBy,
    named: 'make room',
  },
  {
    rule: 'a move is on the disk of the coordinator before others hear of it',
    module: 'cluster/home.js',
    from: 'makeHomesDurable(c);',
    to: ';',
    noticedBy: 'cluster/told-homes.test.ts',
    named: 'moved between two others',
  },
];
