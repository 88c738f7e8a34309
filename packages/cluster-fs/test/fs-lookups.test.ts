import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFileApi, type FileApi } from '../src/fs/index.ts';
import { limits } from '../src/fs/path-cache.ts';
import { backendOf, MemoryTree } from './memory-tree.ts';

let tree: MemoryTree;
let fs: FileApi;

beforeEach(() => {
  tree = new MemoryTree();
  fs = createFileApi(backendOf(tree));
});
afterEach(() => tree.close());

const inoOf = (path: string) => fs.statSync(path, { throwIfNoEntry: false })?.ino;

test('a remembered path is forgotten when its file is removed', () => {
  const first = tree.file('/f', Buffer.from('x'), [1]);
  expect([inoOf('/f'), inoOf('/f')]).toEqual([first, first]);
  tree.remove('/f');
  expect(inoOf('/f')).toBeUndefined();
  expect(fs.existsSync('/f')).toBe(false);
});

test('a path that was missing is found once it is there', () => {
  expect([inoOf('/f'), inoOf('/f')]).toEqual([undefined, undefined]);
  const ino = tree.file('/f', Buffer.from('x'), [1]);
  expect(inoOf('/f')).toBe(ino);
});

test('a path below a missing directory is found once both are there', () => {
  tree.symlink('/d', '/l');
  const all = () => ['/d/e/f', '/d/e/../e/f', '/l/e/f', ''].map(inoOf);
  for (let i = 0; i < 2; i++) expect(all()).toEqual([undefined, undefined, undefined, undefined]);
  tree.mkdir('/d');
  expect(all()).toEqual([undefined, undefined, undefined, undefined]);
  tree.mkdir('/d/e');
  const ino = tree.file('/d/e/f', Buffer.from('x'), [1]);
  expect(all()).toEqual([ino, ino, ino, undefined]);
});

test('a directory that is renamed takes the paths below it along', () => {
  tree.mkdir('/a');
  const ino = tree.file('/a/f', Buffer.from('x'), [1]);
  expect([inoOf('/a/f'), inoOf('/b/f')]).toEqual([ino, undefined]);
  tree.rename('/a', '/b');
  expect([inoOf('/a/f'), inoOf('/b/f')]).toEqual([undefined, ino]);
});

test('a name shows the file that took its place', () => {
  tree.file('/old', Buffer.from('x'), [1]);
  const ino = tree.file('/new', Buffer.from('y'), [2]);
  expect(inoOf('/old')).not.toBe(ino);
  tree.rename('/new', '/old');
  expect(inoOf('/old')).toBe(ino);
});

test('a link is followed by stat and not by lstat, also when both are remembered', () => {
  const ino = tree.file('/f', Buffer.from('x'), [1]);
  tree.symlink('f', '/l');
  for (let i = 0; i < 2; i++) {
    expect(fs.statSync('/l').ino).toBe(ino);
    expect(fs.lstatSync('/l').isSymbolicLink()).toBe(true);
  }
});

test('rights taken from a directory hold for paths that were found before', () => {
  tree.mkdir('/d', 0o755);
  tree.file('/d/f', Buffer.from('x'), [1]);
  const other = createFileApi(backendOf(tree, { credentials: { uid: 1000, gids: [1000] } }));
  expect(other.readFileSync('/d/f', 'utf8')).toBe('x');
  tree.chmod('/d', 0o700);
  expect(() => other.readFileSync('/d/f')).toThrow("EACCES: permission denied, open '/d/f'");
});

test('another segment voids what was found in the one before', () => {
  const ino = tree.file('/f', Buffer.from('x'), [1]);
  const rebuilt = new MemoryTree();
  rebuilt.file('/other', Buffer.from('y'), [1]);
  let current = tree;
  const both = createFileApi(
    backendOf(tree, {
      get segment() {
        return current.published;
      },
    }),
  );
  expect(both.statSync('/f').ino).toBe(ino);
  current = rebuilt;
  expect(both.existsSync('/f')).toBe(false);
  rebuilt.close();
});

test('more paths than are remembered are found all the same', () => {
  const ino = tree.file('/f', Buffer.from('x'), [1]);
  for (let i = 0; i < limits.paths + 100; i++) expect(fs.existsSync(`/${i}`)).toBe(false);
  expect(inoOf('/f')).toBe(ino);
  expect(inoOf(`/${'./'.repeat(limits.pathLength)}f`)).toBe(ino);
});

test('an unmounted file system answers nothing', () => {
  const error = new Error('unmounted');
  const gone = createFileApi(
    backendOf(tree, {
      assertUsable: () => {
        throw error;
      },
    }),
  );
  expect(() => gone.statSync('/')).toThrow(error);
  expect(() => gone.readdirSync('/')).toThrow(error);
});
