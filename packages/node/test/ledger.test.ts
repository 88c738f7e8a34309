import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Ledger } from '../src/publisher/ledger.ts';

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'clusterfs-ledger-'));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test('remembers what was added and not deleted, also when its last line was cut', () => {
  const file = join(directory(), 'published');
  const ledger = new Ledger(file);
  for (const path of ['/a', '/a/b', '/c']) ledger.add(path);
  ledger.delete('/c');
  appendFileSync(file, '["+","/half');
  expect(new Ledger(file).below('/')).toEqual(['/a', '/a/b']);
});

test('says which file is damaged', () => {
  const file = join(directory(), 'published');
  writeFileSync(file, '["+","/a"]\nnonsense\n["+","/b"]\n');
  expect(() => new Ledger(file)).toThrow(expect.objectContaining({ code: 'EIO', path: file }));
});

// Only root may mount a file system of its own size.
test.skipIf(process.getuid?.() !== 0)('an append that finds no space leaves nothing of itself', () => {
  const small = directory();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'none', small]);
  onTestFinished(() => {
    execFileSync('umount', [small]);
  });
  const file = join(small, 'published');
  const ledger = new Ledger(file);
  const long = `/${'x'.repeat(600)}`;
  let count = 0;
  const fill = (): void => {
    for (; count < 1000; count++) ledger.add(`${long}${count}`);
  };
  expect(fill).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  const whole = readFileSync(file, 'utf8');
  expect(whole.endsWith('\n')).toBe(true);
  expect(ledger.below('/')).toHaveLength(count);
  const { size } = statSync(file);
  ledger.add('/y');
  expect(statSync(file).size).toBeGreaterThan(size);
  expect(
    readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text) as unknown),
  ).toHaveLength(count + 1);
});
