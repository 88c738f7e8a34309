/** The recorder misses nothing, and the disk loses what a disk may lose and nothing else. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { byChance, extremes } from './choices.ts';
import { type Choice, Disk } from './disk.ts';
import { type Call, startRecorder } from './recorder.ts';

const page = 4096;
const choose = (what: keyof typeof extremes): Choice => extremes[what];

/** What a program does in a directory of its own. */
function recorded(program: string): { directory: string; calls: Call[] } {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-recorded-'));
  const recorder = startRecorder(directory);
  onTestFinished(() => {
    recorder.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const imports = `
    import * as fs from 'node:fs';
    import { native } from '@cluster-fs/transport';
    process.chdir(${JSON.stringify(directory)});`;
  execFileSync(process.execPath, ['--input-type=module', '-e', imports + program], {
    cwd: import.meta.dirname,
    env: { ...process.env, ...recorder.env },
  });
  return { directory, calls: recorder.calls() };
}

function replay(directory: string, calls: readonly Call[], choice = choose('everything')) {
  const disk = new Disk(directory);
  for (const call of calls) disk.apply(call);
  return disk.image(choice).files;
}

test('every way to change a file is recorded: the log replayed is the directory', () => {
  const { directory, calls } = recorded(`
    const fd = fs.openSync('a', 'w+');
    fs.writeSync(fd, 'in order ');
    fs.writevSync(fd, [Buffer.from('of the '), Buffer.alloc(9000, 'descriptor')]);
    fs.writeSync(fd, 'at a place', 0, 'utf8', 5000);
    fs.writevSync(fd, [Buffer.from('two '), Buffer.from('parts')], 20000);
    fs.ftruncateSync(fd, 30000);
    native.punchHole(fd, 4096, 4096);
    native.allocateRange(fd, 0, 40000);
    fs.appendFileSync('b', 'one');
    fs.appendFileSync('b', 'two');
    fs.writeFileSync('c', 'gone');
    fs.writeFileSync('a-second', 'longer');
    fs.writeFileSync(process.cwd() + '/a-second', 'cut');
    fs.unlinkSync('c');
    fs.writeFileSync('c', 'and again');
    fs.writeFileSync('d', 'a file without a name');
    const d = fs.openSync('d', 'r+');
    fs.unlinkSync('d');
    fs.writeSync(d, 'written on');
    await fs.promises.writeFile('e', Buffer.alloc(100_000, 'in the pool'));
    fs.writeFileSync('/dev/null', 'of no concern');`);
  const files = replay(directory, calls);
  expect([...files.keys()]).toEqual(readdirSync(directory).sort());
  for (const [name, bytes] of files)
    expect(bytes.equals(readFileSync(join(directory, name))), name).toBe(true);
  expect(calls.some(({ path }) => path === '/dev/null')).toBe(false);
});

test.each([
  ['a mapping to write', "native.mapFile({ fd, offset: 0, length: 4096, protection: 'read-write' })"],
  ['a rename', "fs.renameSync('a', 'b')"],
])('%s is refused: nobody knows what it writes when', (_, call) => {
  const { directory, calls } = recorded(`
    const fd = fs.openSync('a', 'w+');
    fs.ftruncateSync(fd, 4096);
    ${call};`);
  expect(() => replay(directory, calls)).toThrow('not known to the disk');
});

const at = { thread: 1, ino: 5, length: 0, end: 0, data: Buffer.alloc(0), offset: 0 };
const create: Call = { ...at, kind: 'create', path: '/d/a' };
const write = (offset: number, text: string, length = page): Call => {
  return { ...at, kind: 'write', path: '/d/a', offset, data: Buffer.alloc(length, text) };
};
const flush = (path: string): Call[] =>
  (['flushBegin', 'flushEnd'] as const).map((kind) => ({ ...at, kind, path }));
const named = [create, ...flush('/d')];
const pagesIn = (bytes: Buffer | undefined): string =>
  Array.from({ length: (bytes?.length ?? 0) / page }, (_, i) =>
    bytes?.toString('latin1', i * page, i * page + 1),
  )
    .join('')
    .replaceAll('\0', '-');

test('a name is there when its directory was flushed, bytes when their file was', () => {
  expect([...replay('/d', [create, write(0, 'a'), ...flush('/d/a')], choose('nothing')).keys()]).toEqual([]);
  const calls = [...named, write(0, 'ab', 2 * page), ...flush('/d/a'), write(page, 'c')];
  expect(pagesIn(replay('/d', calls, choose('nothing')).get('a'))).toBe('aa');
  expect(pagesIn(replay('/d', calls).get('a'))).toBe('ac');
});

test('what is written while a flush is under way may be lost', () => {
  const [begin, end] = flush('/d/a') as [Call, Call];
  const calls = [...named, write(0, 'a'), begin, write(page, 'b'), end];
  expect(pagesIn(replay('/d', calls, choose('nothing')).get('a'))).toBe('a');
  expect(pagesIn(replay('/d', [...named, write(0, 'a'), begin], choose('nothing')).get('a'))).toBe('');
});

test('later pages may be kept and earlier ones lost, and each page is as it was at one time', () => {
  const calls = [
    ...named,
    write(0, 'abc', 3 * page),
    write(page, 'x'),
    write(2 * page, 'y'),
    write(page, 'z'),
  ];
  const expected = {
    nothing: '',
    everything: 'azy',
    'only the last': '-z',
    'only the first': 'a',
    'all but the first': '-zy',
    'all but the last': 'a-y',
  };
  for (const [what, pages] of Object.entries(expected) as [keyof typeof extremes, string][])
    expect(pagesIn(replay('/d', calls, choose(what)).get('a')), what).toBe(pages);
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) seen.add(pagesIn(replay('/d', calls, byChance(seed)).get('a')));
  expect(seen.size).toBeGreaterThan(15);
  for (const pages of seen) expect(pages).toMatch(/^(|[a-]|[a-][bxz-]|[a-][bxz-][cy-])$/);
  expect(replay('/d', calls, byChance(7))).toEqual(replay('/d', calls, byChance(7)));
});
