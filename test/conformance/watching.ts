/** watch: changes are told while they happen, and the iteration ends when it is aborted. */
import { describe, expect } from 'vitest';
import { refused, stories, type Tester } from './tester.ts';

export function watching(tester: Tester): void {
  describe('watch', () => {
    changes(tester);
    ending(tester);
  });
}

/** Watches while `act` does its work, until `done` holds for what was seen; then ends the watch. */
async function watchUntil(
  tester: Tester,
  path: string,
  act: () => Promise<unknown>,
  done: (seen: Set<string>) => boolean,
): Promise<Set<string>> {
  const controller = new AbortController();
  const events = tester.fs.watch(path, { signal: controller.signal })[Symbol.asyncIterator]();
  const seen = new Set<string>();
  // The watch starts with the first next(); what happens after that call is seen.
  let next = events.next();
  await act();
  try {
    for (;;) {
      const { value } = await next;
      seen.add(`${value.eventType} ${value.filename}`);
      next = events.next();
      if (done(seen)) controller.abort();
    }
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    expect(error).toMatchObject({ name: 'AbortError' });
    return seen;
  }
}

function changes(tester: Tester): void {
  const it = stories(tester);

  // Of events that come together, node 20 keeps the first only: each change gets a directory of its own.
  const told: [what: string, event: string, change: (dir: string) => Promise<unknown>][] = [
    ['a new file', 'rename new', (dir) => tester.fs.writeFile(`${dir}/new`, 'x')],
    ['a written file', 'change old', (dir) => tester.fs.writeFile(`${dir}/old`, 'x')],
    ['a moved file', 'rename old', (dir) => tester.fs.rename(`${dir}/old`, `${dir}/moved`)],
    ['a removed file', 'rename old', (dir) => tester.fs.unlink(`${dir}/old`)],
    ['a new directory', 'rename d', (dir) => tester.fs.mkdir(`${dir}/d`)],
    ['a new link', 'rename l', (dir) => tester.fs.symlink('old', `${dir}/l`)],
  ];
  for (const [what, event, change] of told) {
    it(`a directory tells of ${what}`, async (dir) => {
      await tester.fs.writeFile(`${dir}/old`, '');
      const seen = await watchUntil(
        tester,
        dir,
        () => change(dir),
        (events) => events.size > 0,
      );
      expect(seen).toContain(event);
    });
  }

  it('a file tells its own changes', async (dir) => {
    const path = `${dir}/f`;
    await tester.fs.writeFile(path, '');
    const append = () => tester.fs.appendFile(path, 'x');
    expect(await watchUntil(tester, path, append, (events) => events.size > 0)).toContain('change f');
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
