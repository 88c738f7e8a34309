import { closeSync, readFileSync, renameSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { describe, expect, test } from 'vitest';
import { assert, codeOfErrno, FsError, unreachable } from '../src/errors.ts';

/** What node:fs throws. */
function thrownBy(action: () => unknown): NodeJS.ErrnoException {
  try {
    action();
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
  throw new Error('nothing was thrown');
}

describe('an FsError', () => {
  test.each<[NodeJS.ErrnoException, FsError]>([
    [thrownBy(() => readFileSync('/no/such/file')), new FsError('ENOENT', 'open', { path: '/no/such/file' })],
    [
      thrownBy(() => renameSync('/no/such/file', '/no/other')),
      new FsError('ENOENT', 'rename', { path: '/no/such/file', dest: '/no/other' }),
    ],
    [thrownBy(() => closeSync(1_000_000)), new FsError('EBADF', 'close')],
  ])('reads as the one of node:fs: %s', (theirs, ours) => {
    expect(ours.message).toBe(theirs.message);
    expect({ ...ours }).toEqual({ ...theirs });
    expect(Object.keys(ours)).toEqual(Object.keys(theirs));
    expect(ours.stack?.split('\n')[0]).toBe(theirs.stack?.split('\n')[0]);
  });

  test('says why, when there is more to say', () => {
    const cause = new Error('the disk');
    const error = new FsError('EBUSY', 'move', { path: '/a', why: 'session 7 maps it', cause });
    expect(error.message).toBe("EBUSY: resource busy or locked, move '/a' (session 7 maps it)");
    expect(error).toMatchObject({ why: 'session 7 maps it', cause });
  });

  test.each(['ESTALE', 'EDQUOT', 'ENOEXEC'] as const)('names %s, which libuv does not', (code) => {
    const { message, errno } = new FsError(code, 'read');
    expect(message).not.toMatch(/unknown/);
    expect(codeOfErrno(errno)).toBe(code);
  });
});

describe('the code of an errno', () => {
  test('is what libuv calls it', () => {
    for (const [errno, [code]] of getSystemErrorMap()) expect(codeOfErrno(errno)).toBe(code);
  });

  test('is of either sign', () => {
    expect([codeOfErrno(2), codeOfErrno(-2)]).toEqual(['ENOENT', 'ENOENT']);
  });

  test('is UNKNOWN for what nobody names', () => {
    expect(codeOfErrno(3999)).toBe('UNKNOWN');
    expect(new FsError(codeOfErrno(3999), 'ioctl').message).toBe('UNKNOWN: unknown error, ioctl');
  });
});

test('assert and unreachable stop with a plain Error', () => {
  expect(() => assert(1 > 2, 'one is more')).toThrow(/^assertion failed: one is more$/);
  expect(thrownBy(() => assert(false, ''))).not.toBeInstanceOf(FsError);
  expect(() => unreachable({ type: 'surprise' } as never)).toThrow(/surprise/);
});
