/** Where a file is, as the application's thread sees it in shared memory before the node is asked. */
import { FsError } from '@cluster-fs/transport';
import {
  type Credentials,
  InodeCopy,
  isFile,
  readExtents,
  readInode,
  type Segment,
  walk,
} from '../segment/index.ts';
import type { Seen } from './worker-protocol.ts';

/** More take longer to hand to the worker than a second question to the node. */
const mostSeenExtents = 256;

/** Undefined when the file has too many pieces, or the node will say what is wrong. */
export function lookAt(
  { segment, credentials }: { readonly segment: Segment; readonly credentials: Credentials },
  path: string,
): Seen | undefined {
  const copy = new InodeCopy();
  try {
    const { ino } = walk(segment, path, { follow: true, syscall: 'map', credentials });
    if (!readInode(segment, ino, copy) || copy.extentCount > mostSeenExtents) return undefined;
    const extents = readExtents(segment, ino, copy);
    const { generation, layoutVersion, size } = copy;
    return isFile(copy.mode) ? { ino, generation, layoutVersion, size, extents } : undefined;
  } catch (error) {
    if (error instanceof FsError) return undefined;
    throw error;
  }
}
