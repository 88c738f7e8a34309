/** Synchronous reads in the thread that is the node: what it would have to fetch first fails at once. */
import { expect, test } from 'vitest';
import { startTwo, timeout } from './two-keepers.ts';

test('who would wait for itself is told so, and what is here is read', { timeout }, async () => {
  const { atA, atB } = await startTwo();
  await atA.promises.writeFile('/file', 'content');
  const startedMs = performance.now();
  expect(() => atB.readFileSync('/file')).toThrow(
    expect.objectContaining({ code: 'EDEADLK', syscall: 'read', message: expect.stringContaining('thread') }),
  );
  expect(performance.now() - startedMs).toBeLessThan(5000);
  expect(await atB.promises.readFile('/file', 'utf8')).toBe('content');
  expect(atB.readFileSync('/file', 'utf8')).toBe('content');
  expect(atA.readFileSync('/file', 'utf8')).toBe('content');
});
