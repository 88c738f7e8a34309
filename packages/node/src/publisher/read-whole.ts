/**
 * Files of the disk, read whole.
 *
 * A file of the cluster is replaced in one step, so all of the new content is in memory at that moment. It is
 * read in chunks, because one call of node:fs reads 2 GiB at most, and so that it can be stopped.
 */
import type { FileHandle } from 'node:fs/promises';
import { FsError } from 'cluster-fs';

const chunkBytes = 8 * 2 ** 20;

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** The first `size` bytes; fewer when the file ends before. */
export async function readWhole(
  file: FileHandle,
  size: number,
  { signal, onProgress }: ReadOptions = {},
): Promise<Buffer> {
  const bytes = allocate(size);
  let done = 0;
  while (done < size) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(bytes, done, Math.min(chunkBytes, size - done), done);
    if (bytesRead === 0) break;
    done += bytesRead;
    onProgress?.(done);
  }
  return bytes.subarray(0, done);
}

function allocate(size: number): Buffer {
  try {
    return Buffer.allocUnsafeSlow(size);
  } catch (error) {
    throw new FsError('EFBIG', 'read', { why: `${size} bytes do not fit in one buffer here`, cause: error });
  }
}

/** Everything that comes, up to `limit` bytes. */
export async function readAll(
  source: AsyncIterable<Buffer>,
  { path, limit, signal, onProgress }: ReadOptions & { readonly path: string; readonly limit: number },
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let done = 0;
  for await (const chunk of source) {
    signal?.throwIfAborted();
    chunks.push(chunk);
    done += chunk.length;
    if (done > limit) throw new FsError('ENOSPC', 'write', { path, why: `the segment has ${limit} bytes` });
    onProgress?.(done);
  }
  return Buffer.concat(chunks, done);
}
