/** watch: changes are told while they happen, and the iteration ends when it is aborted. */
import { describe, expect } from 'vitest';
import { refused, stories, type Tester } from './tester.ts';

export function watching(tester: Tester): void {
  describe('watch', () => {
    changes(tester);
    ending(tester);
  });
}

/** Reads events until `done` holds for the names and types seen so far, then stops watching. */
async function watchUntil(
  tester: Tester,
  path: string,
  act: () => Promise<unknown>,
  done: (seen: Set<string>) => boolean,
): Promise<Set<string>> {
  const controller = new AbortController();
  const events = tester.fs.watch(path, { signal: controller.signal })[Symbol.asyncIterator]();
  const seen = new Set<string>();
  try {
    // The watch starts with the first next(); what happens after that call is seen.
    let next = events.next();
    await act();
    while (!done(seen)) {
      const { value } = await next;
      seen.add(`${value.eventType} ${value.filename}`);
      next = events.next();
    }
    next.catch((error: Error) => expect(error.name).toBe('AbortError'));
    return seen;
  } finally {
    controller.abort();
  }
}

function changes(tester: Tester): void {
  const it = stories(tester);

  it('a directory tells what is created, written, moved and removed in it', async (dir) => {
    const { fs } = tester;
    await fs.writeFile(`${dir}/old`, '');
    await watchUntil(
      tester,
      dir,
      () => fs.writeFile(`${dir}/new`, 'x'),
      (seen) => seen.has('rename new'),
    );
    await watchUntil(
      tester,
      dir,
      () => fs.writeFile(`${dir}/old`, 'x'),
      (seen) => seen.has('change old'),
    );
    const moved = (seen: Set<string>) => seen.has('rename old') && seen.has('rename moved');
    await watchUntil(tester, dir, () => fs.rename(`${dir}/old`, `${dir}/moved`), moved);
    await watchUntil(
      tester,
      dir,
      () => fs.unlink(`${dir}/new`),
      (seen) => seen.has('rename new'),
    );
    await watchUntil(
      tester,
      dir,
      () => fs.mkdir(`${dir}/d`),
      (seen) => seen.has('rename d'),
    );
  });

  it('a file tells its own changes', async (dir) => {
    const { fs } = tester;
    await fs.writeFile(`${dir}/f`, '');
    await watchUntil(
      tester,
      `${dir}/f`,
      () => fs.appendFile(`${dir}/f`, 'x'),
      (seen) => seen.has('change f'),
    );
    await watchUntil(
      tester,
      `${dir}/f`,
      () => fs.utimes(`${dir}/f`, 1, 1),
      (seen) => seen.has('change f'),
    );
  });

  it('a directory is silent about what happens below its subdirectories', async (dir) => {
    const { fs } = tester;
    await fs.mkdir(`${dir}/d`);
    const act = async () => {
      await fs.writeFile(`${dir}/d/inner`, 'x');
      await fs.writeFile(`${dir}/outer`, 'x');
    };
    const seen = await watchUntil(tester, dir, act, (events) => events.has('rename outer'));
    expect([...seen].filter((event) => event.includes('inner'))).toEqual([]);
  });
}

function ending(tester: Tester): void {
  const it = stories(tester);

  it('ends with an AbortError', async (dir) => {
    const controller = new AbortController();
    const events = tester.fs.watch(dir, { signal: controller.signal })[Symbol.asyncIterator]();
    const next = events.next();
    controller.abort();
    await expect(next).rejects.toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
  });

  it('refuses a missing path', async (dir) => {
    const events = tester.fs.watch(`${dir}/none`)[Symbol.asyncIterator]();
    await refused(events.next(), 'ENOENT');
  });
}
