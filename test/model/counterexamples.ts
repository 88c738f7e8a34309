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
  'mkdir with a slash finds its name taken by a file, and does not follow a link': [
    ['writeFile', { path: '/top/a', letter: 'p', length: 1, flag: 'w' }],
    ['mkdir', { path: '/top/a/' }],
    ['symlink', { target: 'c', path: '/top/b' }],
    ['mkdir', { path: '/top/b/' }],
    ['readdir', { path: '/top' }],
  ],
  'symlink and link with a slash find their name taken by a file': [
    ['writeFile', { path: '/top/a', letter: 'p', length: 1, flag: 'w' }],
    ['symlink', { target: 'c', path: '/top/a/' }],
    ['link', { from: '/top/a', to: '/top/a/' }],
  ],
  'link looks at what it should link before it looks at the new name': [
    ['writeFile', { path: '/top/a', letter: 'p', length: 1, flag: 'w' }],
    ['link', { from: '/top/b', to: '/top/a/' }],
    ['link', { from: '/top/b', to: '/top/a/c' }],
    ['link', { from: '/top/b', to: '/top/a' }],
  ],
  'opening a name with a slash for creation is refused as a directory, whatever is there': [
    ['writeFile', { path: '/top/a', letter: 'p', length: 1, flag: 'w' }],
    ['mkdir', { path: '/top/b' }],
    ['open', { slot: 0, path: '/top/a/', flag: 'a+' }],
    ['open', { slot: 0, path: '/top/a/', flag: 'wx' }],
    ['open', { slot: 0, path: '/top/b/', flag: 'wx' }],
    ['open', { slot: 0, path: '/top/c/', flag: 'ax' }],
    ['copyFile', { from: '/top/a', to: '/top/a/', exclusive: true }],
  ],
  'a directory that is moved below itself hears of that first': [
    ['mkdir', { path: '/top/a' }],
    ['writeFile', { path: '/top/a/b', letter: 'p', length: 1, flag: 'w' }],
    ['rename', { from: '/top/a', to: '/top/a/b/' }],
    ['rename', { from: '/top/a', to: '/top/a/b' }],
  ],
  'opening an empty file to cut it is a change of its content': [
    ['open', { slot: 1, path: '/top/a', flag: 'ax' }],
    ['utimes', { path: '/top/a', seconds: 1003 }],
    ['open', { slot: 1, path: '/top/a', flag: 'w' }],
    ['lstat', { path: '/top/a' }],
  ],
  'link to a name whose way is a loop, of what is not there': [
    ['symlink', { target: 'a', path: '/top/a' }],
    ['link', { from: '/top/b', to: '/top/a/c' }],
  ],
  'copyFile through a file is no question of directories': [
    ['writeFile', { path: '/top/a', letter: 'p', length: 1, flag: 'w' }],
    ['writeFile', { path: '/top/c', letter: 's', length: 0, flag: 'w' }],
    ['copyFile', { from: '/top/a', to: '/top/c/c/', exclusive: true }],
    ['copyFile', { from: '/top/a', to: '/top/c/c/', exclusive: false }],
  ],
  'copyFile to a link that leads through a file finds the link, when it must be the first': [
    ['writeFile', { path: '/top/a', letter: 'p', length: 1, flag: 'w' }],
    ['writeFile', { path: '/top/b', letter: 'p', length: 1, flag: 'w' }],
    ['symlink', { target: '/top/b/b', path: '/top/c' }],
    ['copyFile', { from: '/top/a', to: '/top/c', exclusive: true }],
    ['copyFile', { from: '/top/a', to: '/top/c', exclusive: false }],
  ],
};
