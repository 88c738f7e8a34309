/** Making a file under a name that nobody looks for, and giving it its own in one step. */
import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import type { StatusReport } from '../coordinator/report.ts';
import { about } from './about.ts';

export async function makeBeside(
  fs: ClusterFs,
  path: string,
  { replace, make }: { readonly replace: boolean; make(temporary: string): Promise<void> },
): Promise<void> {
  const temporary = posix.join(posix.dirname(path), `.clusterfs-load-${randomBytes(8).toString('hex')}`);
  try {
    await about(path, () => make(temporary), { instead: temporary });
    if (replace) await fs.promises.rename(temporary, path);
    // Unlike rename, link refuses to replace.
    else await fs.promises.link(temporary, path);
  } finally {
    await fs.promises.rm(temporary, { force: true });
  }
}

/** No node has so little memory that it matters. */
const smallBytes = 2 ** 20;

/**
 * Whether a file is to be written piece by piece, under another name: new content in one step is in memory as
 * a whole, and where files may be larger than memory it may not fit, or leave nothing for others. `share`: of
 * the memory that it may take.
 */
export async function isLarge(fs: ClusterFs, size: number, { share = 1 / 4 } = {}): Promise<boolean> {
  if (size <= smallBytes) return false;
  const { store } = (await fs.status()) as unknown as StatusReport;
  return store !== null && size > store.memoryLimitBytes * share;
}

const zeros = Buffer.alloc(64 * 1024);

interface PieceOptions {
  readonly mode: number;
  /** Whether stretches of zeros become holes. */
  readonly sparse: boolean;
  readonly signal: AbortSignal;
}

/** Writes what comes, one after the other, to a new file. */
export async function writePieces(
  fs: ClusterFs,
  path: string,
  source: AsyncIterable<Uint8Array>,
  { mode, sparse, signal }: PieceOptions,
): Promise<void> {
  const handle = await fs.promises.open(path, 'wx', mode);
  try {
    let size = 0;
    for await (const chunk of source) {
      signal.throwIfAborted();
      for (let done = 0; done < chunk.length; ) {
        const piece = sparse ? chunk.subarray(done, done + zeros.length) : chunk.subarray(done);
        const isHole = sparse && zeros.compare(piece, 0, piece.length, 0, piece.length) === 0;
        const at = size + done;
        done += isHole ? piece.length : (await handle.write(piece, 0, piece.length, at)).bytesWritten;
      }
      size += chunk.length;
    }
    // What was left out at the end.
    if (sparse) await handle.truncate(size);
  } finally {
    await handle.close();
  }
}
