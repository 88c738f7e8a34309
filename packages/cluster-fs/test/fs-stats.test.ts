import nodeFs from 'node:fs';
import { inspect } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFileApi, type FileApi } from '../src/fs/index.ts';
import { backendOf, MemoryTree } from './memory-tree.ts';

let tree: MemoryTree;
let fs: FileApi;

beforeEach(() => {
  tree = new MemoryTree();
  fs = createFileApi(backendOf(tree));
});
afterEach(() => tree.close());

const kinds = (stats: object) => inspect(stats).replace(/: [^,\n]+/g, '');

test('prints, and turns into JSON, as the stats of node', () => {
  tree.file('/f', Buffer.from('x'), [1]);
  expect(kinds(fs.statSync('/f'))).toBe(kinds(nodeFs.statSync('/')));
  expect(kinds(fs.statSync('/f', { bigint: true }))).toBe(kinds(nodeFs.statSync('/', { bigint: true })));
  const json = JSON.parse(JSON.stringify(fs.statSync('/f')));
  expect(Object.keys(json)).toEqual(Object.keys(JSON.parse(JSON.stringify(nodeFs.statSync('/')))));
  expect(json.mtime).toBe('1970-01-01T00:00:00.002Z');
});

test('counts blocks of 512 bytes and knows what it is', () => {
  tree.file('/f', Buffer.alloc(5000), [1, 2]);
  tree.mkdir('/d');
  const stats = fs.statSync('/f');
  expect([stats.size, stats.blocks, stats.blksize, stats.nlink]).toEqual([5000, 16, 4096, 1]);
  expect([stats.isFile(), stats.isDirectory(), fs.statSync('/d').isDirectory()]).toEqual([true, false, true]);
  expect(fs.statSync('/f').dev).toBe(fs.statSync('/d').dev);
});

test('has bigint fields that agree with the numbers', () => {
  tree.file('/f', Buffer.alloc(5000), [1, 2]);
  const [stats, big] = [fs.statSync('/f'), fs.statSync('/f', { bigint: true })];
  expect([Number(big.ino), Number(big.size), Number(big.mode)]).toEqual([stats.ino, stats.size, stats.mode]);
  expect([big.mtimeNs, big.mtimeMs, big.isFile()]).toEqual([1_500_000n, 1n, true]);
});

test('statfs counts pages and inodes', () => {
  const { bsize, blocks, files, ffree } = fs.statfsSync('/');
  expect([bsize, blocks, files, ffree]).toEqual([4096, 256, 1023, 1022]);
  expect(fs.statfsSync('/', { bigint: true }).blocks).toBe(256n);
});
