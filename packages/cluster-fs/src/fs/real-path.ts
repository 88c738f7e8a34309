/** realpath: the path without links, dots and doubled slashes. */
import { FsError } from '@cluster-fs/transport';
import { InodeCopy, isSymlink, layout, readText } from '../segment/index.ts';
import { type Context, inodeOf, linkInodeOf } from './context.ts';

/** The real path, as realpath(3). Errors name the path that was given. */
export function realPath(context: Context, path: string, syscall: string): string {
  inodeOf(context, path, syscall, new InodeCopy());
  return resolveNames(context, path, (prefix) => {
    const inode = new InodeCopy();
    try {
      return linkInodeOf(context, prefix, syscall, inode);
    } catch (error) {
      // It was there a moment ago.
      if (error instanceof FsError) throw new FsError(error.code, syscall, { path });
      throw error;
    }
  });
}

/**
 * As fs.realpathSync of node, whose errors name the first part of the path that failed, and the call it made.
 */
export function realPathByParts(context: Context, path: string): string {
  return resolveNames(context, path, (prefix) => {
    const inode = linkInodeOf(context, prefix, 'lstat', new InodeCopy());
    if (isSymlink(inode.mode)) inodeOf(context, prefix, 'stat', new InodeCopy());
    return inode;
  });
}

function resolveNames(context: Context, path: string, inodeAt: (prefix: string) => InodeCopy): string {
  const pending = namesOf(path).reverse();
  let real: string[] = [];
  let links = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === '..') real.pop();
    if (name === '.' || name === '..') continue;
    const prefix = `/${[...real, name].join('/')}`;
    const inode = inodeAt(prefix);
    if (!isSymlink(inode.mode)) {
      real.push(name);
      continue;
    }
    if (++links > layout.maxSymlinks) throw new FsError('ELOOP', 'realpath', { path });
    const target = readText(context.backend.segment, inode.ino, inode);
    if (target.startsWith('/')) real = [];
    pending.push(...namesOf(target).reverse());
  }
  return `/${real.join('/')}`;
}

const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '');
