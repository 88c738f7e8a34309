import nodeFs from 'node:fs';
import { expect, test } from 'vitest';
import { flagsOf, modeOf, optionsOf, ownerOf, pathOf, timeOf } from '../src/fs/arguments.ts';
import { createFileApi } from '../src/fs/index.ts';
import { missingFunctions, missingPromises } from '../src/fs/missing.ts';
import { backendOf, MemoryTree } from './memory-tree.ts';

function errorOf(work: () => unknown): Record<string, unknown> {
  try {
    work();
  } catch (error) {
    const { name, code, message, stack } = error as NodeJS.ErrnoException;
    return {
      Class: Object.getPrototypeOf(error).constructor.name,
      name,
      code,
      message,
      head: stack?.split('\n')[0],
    };
  }
  return { none: true };
}

/** Expects both to be refused, with the same error. */
function sameRefusal(ours: () => unknown, nodes: () => unknown): void {
  const expected = errorOf(nodes);
  expect(expected.code).toMatch(/^ERR_/);
  expect(errorOf(ours)).toMatchObject({
    code: expected.code,
    message: expected.message,
    name: expected.name,
  });
}

class Oddity {}
const noPaths = [
  undefined,
  null,
  5,
  -0,
  Number.NaN,
  5n,
  true,
  Symbol('s'),
  {},
  [],
  () => 1,
  new Oddity(),
  'a\0b',
  Buffer.from('a\0b'),
  Object.create(null),
];

test('refuses as paths what node refuses, in its words', () => {
  for (const path of noPaths)
    sameRefusal(
      () => pathOf(path),
      () => nodeFs.statSync(path as string),
    );
  for (const url of ['http://x/y', 'file://host/y', 'file:///a%2fb']) {
    sameRefusal(
      () => pathOf(new URL(url)),
      () => nodeFs.statSync(new URL(url)),
    );
  }
});

test('takes paths as text, bytes and URLs', () => {
  expect(pathOf('/ä')).toBe('/ä');
  expect(pathOf(Buffer.from('/ä'))).toBe('/ä');
  expect(pathOf(new Uint8Array([0x2f, 0x61]))).toBe('/a');
  expect(pathOf(new URL('file:///a%20b'))).toBe('/a b');
});

test('refuses modes, flags, owners and times as node does', () => {
  const missing = '/none/none';
  const mode = [null, undefined, '9', '', 'rw', -1, 1.5, 2 ** 32, {}, 5n];
  for (const each of mode)
    sameRefusal(
      () => modeOf(each),
      () => nodeFs.chmodSync(missing, each as number),
    );
  for (const each of ['', 'q', 'rw', {}, 1.5, 2 ** 31, true]) {
    sameRefusal(
      () => flagsOf(each),
      () => nodeFs.openSync(missing, each as string),
    );
  }
  for (const each of [undefined, '1', 1.5, -2, 2 ** 32]) {
    sameRefusal(
      () => ownerOf(each, 'uid'),
      () => nodeFs.chownSync(missing, each as number, 1),
    );
  }
  for (const each of [undefined, 'x', Number.NaN, {}, null, 5n]) {
    sameRefusal(
      () => timeOf(each),
      () => nodeFs.utimesSync(missing, each as number, 1),
    );
  }
});

test('refuses options as node does', () => {
  for (const each of [5, true, 'nonsense', { encoding: 'nonsense' }, { encoding: 5 }]) {
    sameRefusal(
      () => optionsOf(each),
      () => nodeFs.readdirSync('/', each as object),
    );
  }
});

test('reads flags as the bits of open(2)', () => {
  const { O_RDWR, O_CREAT, O_TRUNC, O_EXCL, O_APPEND, O_WRONLY } = nodeFs.constants;
  expect(flagsOf(undefined)).toBe(nodeFs.constants.O_RDONLY);
  expect(flagsOf('wx+')).toBe(O_RDWR | O_CREAT | O_TRUNC | O_EXCL);
  expect(flagsOf('xa')).toBe(O_APPEND | O_CREAT | O_WRONLY | O_EXCL);
  expect(flagsOf(O_RDWR)).toBe(O_RDWR);
});

test('reads times as milliseconds', () => {
  expect(timeOf(1.5)).toBe(1500);
  expect(timeOf('2')).toBe(2000);
  expect(timeOf(new Date(1234))).toBe(1234);
});

test('what is there and what is said to be missing is all that this node has', () => {
  const tree = new MemoryTree();
  const fs = createFileApi(backendOf(tree));
  tree.close();
  const methods = Object.keys(nodeFs.promises);
  expect([...Object.keys(fs.promises), ...Object.keys(missingPromises)]).toEqual(
    expect.arrayContaining(methods),
  );
  expect(Object.keys(missingPromises).filter((name) => name in fs.promises)).toEqual([]);

  // Classes, constants and names with an underscore are no functions that a user calls.
  const functions = Object.keys(nodeFs).filter(
    (name) => /^[a-z]/.test(name) && typeof Reflect.get(nodeFs, name) === 'function',
  );
  expect([...Object.keys(fs), ...Object.keys(missingFunctions)]).toEqual(expect.arrayContaining(functions));
  expect(Object.keys(missingFunctions).filter((name) => name in fs)).toEqual([]);
});
