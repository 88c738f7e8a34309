/**
 * The home's copy of blocks that its own processes may not use: `shadow`, a sparse file beside `data`, with
 * each page where it lies there. It takes the memory that `data` gave up.
 *
 * What is in it when a node starts is newer than `data`: the node of before was killed while others had these
 * blocks.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { type Extent, native, type Run } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import { pageCountOf } from '../coordinator/runs.ts';
import type { DataFile } from '../data-file.ts';

const copyBytes = 2 ** 20;

export class Shadow {
  readonly #fd: number;

  constructor({ directory, size }: DataFile) {
    this.#fd = openSync(`${directory}/shadow`, constants.O_RDWR | constants.O_CREAT, 0o600);
    if (fstatSync(this.#fd).size < size) ftruncateSync(this.#fd, size);
  }

  /** Puts back into `data` what a node of before had lent; how many bytes. */
  restore(data: DataFile): number {
    const { size } = fstatSync(this.#fd);
    const buffer = Buffer.allocUnsafeSlow(copyBytes);
    let restored = 0;
    for (let at = native.seekData(this.#fd, 0); at !== undefined; at = native.seekData(this.#fd, at)) {
      const end = Math.min(size, native.seekHole(this.#fd, at) ?? size);
      while (at < end) {
        const length = readSync(this.#fd, buffer, 0, Math.min(copyBytes, end - at), at);
        writeSync(data.fd, buffer, 0, length, at);
        at += length;
        restored += length;
      }
      if (at >= size) break;
    }
    native.punchHole(this.#fd, 0, size);
    return restored;
  }

  /** `bytes` begin at file page `from`. */
  write(extents: readonly Extent[], from: number, bytes: Buffer): void {
    for (const { filePage, page, count } of extents) {
      const at = (filePage - from) * pageSize;
      const length = Math.min(count * pageSize, Math.max(0, bytes.length - at));
      if (length > 0) writeSync(this.#fd, bytes, at, length, page * pageSize);
    }
  }

  /** From file page `from` on; `memoryFor` gives as many bytes as that takes. */
  read(extents: readonly Extent[], from: number, memoryFor: (length: number) => Buffer): Buffer {
    const last = extents.at(-1);
    const pages = last === undefined ? 0 : last.filePage + last.count - from;
    const bytes = memoryFor(pages * pageSize);
    if (pageCountOf(extents) < pages) bytes.fill(0);
    for (const { filePage, page, count } of extents)
      readSync(this.#fd, bytes, (filePage - from) * pageSize, count * pageSize, page * pageSize);
    return bytes;
  }

  forget(runs: readonly Run[]): void {
    for (const { page, count } of runs) native.punchHole(this.#fd, page * pageSize, count * pageSize);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
