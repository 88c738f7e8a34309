/** Files of another home that are opened, as any other. */
import { constants } from 'node:fs';
import { expect, test } from 'vitest';
import { startTwo, timeout } from './two-keepers.ts';

test('who opens a file of another home to write it anew empties it', { timeout }, async () => {
  const { atA, atB } = await startTwo();
  await atA.promises.writeFile('/file', 'content');
  await atA.promises.symlink('/file', '/link');
  await atA.migrate('/file', 'b');
  for (const [fs, path] of [
    [atA, '/file'],
    [atB, '/file'],
    [atB, '/link'],
  ] as const) {
    await using handle = await fs.promises.open(path, 'w');
    expect(atA.statSync('/file').size).toBe(0);
    await handle.write('new');
    for (const each of [atA, atB]) expect(await each.promises.readFile('/file', 'utf8')).toBe('new');
    await using _ = await fs.promises.open(path, constants.O_RDONLY | constants.O_TRUNC);
    expect(atB.statSync('/file').size).toBe(0);
    await fs.promises.writeFile('/file', 'content');
  }
});
