/**
 * `data`: the tmpfs file that holds the pages. Reserving, punching, zeroing and copying them.
 *
 * INVARIANT: a free page is a hole. Whoever frees a page punches it, so a page that is taken reads as zeros
 * and no bytes of an old file show up in a new one.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { type ErrorCode, FsError, native, type Run } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';

/** Pages `from`, as many as `count`, to pages `to`. */
interface PageCopy {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

const zeros = Buffer.alloc(2 ** 20);

/** Up to this many are copied at once: the way to the pool and back takes longer. */
const syncPages = 16;

export class DataFile {
  readonly path: string;
  /** The run directory of the node. */
  readonly directory: string;
  readonly fd: number;
  /** For sessions that may only read. */
  readonly readOnlyFd: number;
  readonly size: number;

  constructor(path: string, size: number) {
    this.path = path;
    this.directory = dirname(path);
    this.size = size;
    this.fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.readOnlyFd = openSync(path, constants.O_RDONLY);
    // Growing is safe, shrinking would be SIGBUS for whoever maps the rest.
    if (fstatSync(this.fd).size < size) ftruncateSync(this.fd, size);
  }

  punch(runs: readonly Run[]): void {
    for (const { page, count } of runs) native.punchHole(this.fd, page * pageSize, count * pageSize);
  }

  /** The parts of `runs` that are no holes. */
  written(runs: readonly Run[]): Run[] {
    const found: Run[] = [];
    for (const { page, count } of runs) {
      const end = (page + count) * pageSize;
      for (let at = page * pageSize; at < end; ) {
        const data = Math.min(end, native.seekData(this.fd, at) ?? end);
        at = Math.min(end, native.seekHole(this.fd, data) ?? end);
        if (at > data) found.push({ page: data / pageSize, count: (at - data) / pageSize });
      }
    }
    return found;
  }

  /** Takes memory for pages that are stored to directly: a full tmpfs is ENOSPC here and not SIGBUS there. */
  allocate(runs: readonly Run[]): void {
    for (const [i, { page, count }] of runs.entries()) {
      try {
        native.allocateRange(this.fd, page * pageSize, count * pageSize);
      } catch (error) {
        this.punch(runs.slice(0, i + 1));
        throw error instanceof FsError
          ? new FsError(error.code, 'fallocate', { path: this.path, why: 'tmpfs' })
          : error;
      }
    }
  }

  /** As `allocate`, and the pages are written: tmpfs tells them from pages that were never touched. */
  fillZeros(runs: readonly Run[]): void {
    for (const [i, { page, count }] of runs.entries()) {
      try {
        for (let done = 0; done < count; done += zeros.length / pageSize) {
          const length = Math.min(zeros.length, (count - done) * pageSize);
          writeSync(this.fd, zeros, 0, length, (page + done) * pageSize);
        }
      } catch (error) {
        this.punch(runs.slice(0, i + 1));
        const { code = 'EIO' } = error as NodeJS.ErrnoException;
        throw new FsError(code as ErrorCode, 'write', { path: this.path, why: 'tmpfs', cause: error });
      }
    }
  }

  /** What the tmpfs under it has left; without limit when it has none. */
  freeBytes(): number {
    const { blocks, blockSize, available } = native.fileSystemStats(this.fd);
    return blocks === 0 ? Number.POSITIVE_INFINITY : available * blockSize;
  }

  /** What pages of files can take of the tmpfs: what they have there, and what is left. */
  roomBytes(): number {
    return fstatSync(this.fd).blocks * 512 + this.freeBytes();
  }

  zero(offset: number, length: number): void {
    writeSync(this.fd, Buffer.alloc(length), 0, length, offset);
  }

  /** Copies pages, off the event loop; ENOSPC when tmpfs is full. */
  async copy({ from, to, count }: PageCopy): Promise<void> {
    const copy = { fd: this.fd, from: from * pageSize, to: to * pageSize, length: count * pageSize };
    if (count <= syncPages) native.copyInFileSync(copy);
    else await native.copyInFile(copy);
  }

  close(): void {
    closeSync(this.fd);
    closeSync(this.readOnlyFd);
  }
}
