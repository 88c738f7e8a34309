/** Paths in the cluster, as they are typed. */
import { posix } from 'node:path';
import type { ClusterFs } from 'cluster-fs';

/** All paths start at the root, also when the slash was not typed. */
export const clusterPath = (path: string): string => (path.startsWith('/') ? path : `/${path}`);

/** Where something called `name` goes when it is sent to `path`: into it, when that is a directory. */
export function destinationOf(fs: ClusterFs, path: string, name: string): string {
  const target = clusterPath(path);
  const isDirectory = fs.statSync(target, { throwIfNoEntry: false })?.isDirectory() === true;
  return isDirectory || target.endsWith('/') ? posix.join(target, name) : target;
}
