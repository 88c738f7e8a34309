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
export interface PageCopy {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** Somebody waits for the copy, not for its preparation. */
  readonly awaited: boolean;
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
  /** The whole file in this process's memory, for copies; pages are present only while they are copied. */
  readonly #address: number;

  constructor(path: string, size: number) {
    this.path = path;
    this.directory = dirname(path);
    this.size = size;
    this.fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.readOnlyFd = openSync(path, constants.O_RDONLY);
    // Growing is safe, shrinking would be SIGBUS for whoever maps the rest.
    if (fstatSync(this.fd).size < size) ftruncateSync(this.fd, size);
    this.#address = native.mapFile({ fd: this.fd, offset: 0, length: size, protection: 'read-write' });
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

  /**
   * Takes the memory for a copy to come, off the event loop: most of what a copy into fresh pages costs, and
   * nobody waits for it yet. ENOSPC when tmpfs is full.
   */
  async prepareCopy(copy: PageCopy): Promise<void> {
    const preparation = { ...this.#write(copy), ...(copy.awaited ? { window: this.#memory(copy).to } : {}) };
    if (copy.count <= syncPages) native.prepareWriteSync(preparation);
    else await native.prepareWrite(preparation);
  }

  /**
   * Copies pages, off the event loop. Requires: prepareCopy. By pwrite, which needs no mapping of the target
   * and does not zero pages before it fills them; and by memmove when somebody waits: with its preparation it
   * costs a fifth more, by itself half as much.
   */
  async copy(copy: PageCopy): Promise<void> {
    if (copy.awaited) await this.#copyMapped(copy);
    else if (copy.count <= syncPages) native.writeMemorySync(this.#write(copy));
    else await native.writeMemory(this.#write(copy));
  }

  async #copyMapped(copy: PageCopy): Promise<void> {
    const memory = this.#memory(copy);
    if (copy.count <= syncPages) native.copyMemorySync(memory);
    else await native.copyMemory(memory);
  }

  /** Takes the pages of a copy, done or not, out of this process's page tables. */
  forgetCopy(copy: PageCopy): void {
    const { to, length } = this.#memory(copy);
    if (copy.awaited) native.adviseMapping(to, length, 'dont-need');
  }

  #write({ from, to, count }: PageCopy): native.MemoryWrite {
    const address = this.#address + from * pageSize;
    return { fd: this.fd, offset: to * pageSize, address, length: count * pageSize };
  }

  #memory({ from, to, count }: PageCopy): native.MemoryCopy {
    const [source, target] = [from, to].map((page) => this.#address + page * pageSize) as [number, number];
    return { from: source, to: target, length: count * pageSize };
  }

  close(): void {
    native.unmap(this.#address, this.size);
    closeSync(this.fd);
    closeSync(this.readOnlyFd);
  }
}
