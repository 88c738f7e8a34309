import { FsError } from '@cluster-fs/transport';

/**
 * An error of a request that names no path, or one that is not the caller's (the node's data file): about the
 * path that was asked for, with where it came from behind it.
 */
export function aboutPath(error: unknown, path: string): unknown {
  if (!(error instanceof FsError) || error.path === path) return error;
  const why = [error.path, error.why].filter((part) => part !== undefined).join(': ');
  return new FsError(error.code, error.syscall, { path, why: why === '' ? undefined : why, cause: error });
}
