/** Sequences on which two filesystems once disagreed, shortest form, kept under a name. */
import type { Operation } from './commands.ts';

export const counterexamples: Readonly<Record<string, readonly Operation[]>> = {
  'a slash after a name to be made is refused before the loop behind it is noticed': [
    ['symlink', { target: 'a/', path: '/top/a' }],
    ['open', { slot: 0, path: '/top/a', flag: 'w' }],
    ['open', { slot: 0, path: '/top/a', flag: 'r' }],
  ],
  'a forced rm forgives a missing directory on the way, and no file on the way': [
    ['rm', { path: '/top/a/a', recursive: false, force: true }],
    ['writeFile', { path: '/top/b', letter: 'p', length: 1, flag: 'w' }],
    ['rm', { path: '/top/b/a', recursive: true, force: true }],
  ],
  'reading nothing from a handle for writing is no error': [
    ['open', { slot: 1, path: '/top/a', flag: 'a' }],
    ['read', { slot: 1, length: 0, position: undefined }],
    ['read', { slot: 1, length: 1, position: undefined }],
  ],
};
