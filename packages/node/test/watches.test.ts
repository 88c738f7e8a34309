/** Directories that come, go and come back while watching them begins. */
import { mkdirSync, readdirSync, renameSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { lookDirectly } from '../src/publisher/disk-entry.ts';
import { Watches } from '../src/publisher/watches.ts';
import { makeHome } from './cli-process.ts';

const rounds = 300;
/** Steps of chokidar's that a change may come between. */
const turns = 12;

/**
 * A directory that is watched; whatever else is hinted at is looked at, and watched if it is a directory, and
 * then all that is in it.
 */
async function startWatching() {
  const disk = makeHome();
  const hints = new Set<string>();
  const looks = new Map<string, Promise<void>>();
  let pending = 0;
  const watches = new Watches({
    onHint: (path) => {
      hints.add(path);
      if (path !== disk) void look(path);
    },
    onError: (path, error) => hints.add(`${path}: ${error}`),
  });
  onTestFinished(() => watches.close());
  const watch = async (path: string): Promise<void> => {
    for (let watched = 'lost'; watched === 'lost'; ) {
      const entry = await lookDirectly(path);
      watched = entry?.kind === 'directory' ? await watches.watch(path, entry) : 'gone';
      if (watched === 'new') for (const name of listed(path)) void look(join(path, name));
    }
  };
  /** One after the other for each path, as the publisher does it. */
  const look = (path: string): Promise<void> => {
    pending++;
    const looked = (looks.get(path) ?? Promise.resolve()).then(() => watch(path));
    looks.set(path, looked);
    return looked.finally(() => pending--);
  };
  await look(disk);
  return { disk, hints, look, looked: () => expect.poll(() => pending, { timeout: 10_000 }).toBe(0) };
}

/** Begins to watch a directory of which nobody wants to hear; `watched` resolves to what became of that. */
async function startWatch(path: string) {
  const watches = new Watches({ onHint: () => undefined, onError: () => undefined });
  onTestFinished(() => watches.close());
  const entry = await lookDirectly(path);
  if (entry === undefined) throw new Error(`${path} is not there`);
  return { watched: watches.watch(path, entry), close: () => watches.close() };
}

/** Nothing when it is gone again. */
function listed(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

test('the root of the disk is watched', async () => {
  const { watched } = await startWatch('/');
  expect(await watched).toBe('new');
});

// An error that nobody listens to is a rejection that nobody handles: the run fails.
test('what fails in a watch that was given up ends nothing', async () => {
  const disk = makeHome();
  for (let round = 0; round < rounds; round++) {
    const above = join(disk, `${round}`);
    const path = join(above, 'child');
    mkdirSync(path, { recursive: true });
    const { watched, close } = await startWatch(path);
    for (let turn = 0; turn < round % turns; turn++) await nextTurn();
    renameSync(above, `${above}.away`);
    symlinkSync(above, above);
    await close();
    expect(await watched).toMatch(/^(new|lost)$/);
  }
});

test('a directory that becomes a file is not waited for', async () => {
  const { disk, look, looked } = await startWatching();
  for (let round = 0; round < rounds; round++) {
    const path = join(disk, `${round}`);
    mkdirSync(path);
    const watched = look(path);
    for (let turn = 0; turn < round % turns; turn++) await nextTurn();
    rmdirSync(path);
    writeFileSync(path, '');
    await watched;
  }
  await looked();
});

test.each(['in a directory that is watched', 'while watching the directory above begins as well'])(
  'a directory that goes and comes back is watched, %s',
  async (when) => {
    const { disk, hints, look, looked } = await startWatching();
    const isDeep = when.startsWith('while');
    const aboves = Array.from({ length: rounds }, (_, round) => (isDeep ? join(disk, `${round}`) : disk));
    const paths = aboves.map((above, round) => join(above, `child-${round}`));
    for (const [round, path] of paths.entries()) {
      mkdirSync(path, { recursive: true });
      if (isDeep) void look(dirname(path));
      void look(path);
      for (let turn = 0; turn < round % turns; turn++) await nextTurn();
      renameSync(path, `${path}.away`);
      await nextTurn();
      renameSync(`${path}.away`, path);
    }
    // What is told last has been told then, and all before it.
    writeFileSync(join(disk, 'last'), '');
    await expect.poll(() => hints.has(join(disk, 'last')), { timeout: 10_000 }).toBe(true);
    await looked();
    for (const path of paths) writeFileSync(join(path, 'file'), '');
    const untold = () => paths.filter((path) => !hints.has(join(path, 'file')));
    await expect.poll(untold, { timeout: 10_000 }).toEqual([]);
  },
);
