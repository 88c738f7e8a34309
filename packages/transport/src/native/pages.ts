/**
 * Pages and their sums: xxHash64 of each, with seed 0. Pages lie side by side and have one length, a multiple
 * of 32 bytes: that of `bytes` by the number of sums. All arrays may have room for more than `count` pages.
 */
import { addon, checked, unlessBusy } from './binding.ts';

export interface Pages {
  readonly bytes: Uint8Array;
  readonly sums: BigUint64Array;
  readonly count: number;
}

/** The sums of the pages in `bytes`, into `sums`. */
export const sumPages = ({ bytes, sums, count }: Pages): void => {
  checked(addon.sumPages(bytes, sums, count), 'sum');
};

/** `bytes` are filled, with zeros where the file ends; `sums` are what the pages should be. */
export interface PagesRead extends Pages {
  /** Where each page is in the file, counted in pages. 0: nowhere; it is zeros, whatever its sum is. */
  readonly places: Float64Array;
}

/**
 * pread(2) on a pool thread: how many pages, from the first on, are as their sums say. The descriptor must
 * stay open, and nobody may change the arrays, until the promise settles.
 */
export const readPages = async (fd: number, { places, bytes, sums, count }: PagesRead): Promise<number> =>
  checked(await addon.readPages(fd, places, bytes, sums, count), 'read');

/** As `readPages`, at once. */
export const readPagesNow = (fd: number, { places, bytes, sums, count }: PagesRead): number =>
  checked(addon.readPagesNow(fd, places, bytes, sums, count, true), 'read');

/**
 * As `readPagesNow`, from memory alone (preadv2(2), RWF_NOWAIT): undefined when the disk would have to be
 * waited for. ENOTSUP where the file system cannot tell.
 */
export const readCachedPages = (fd: number, { places, bytes, sums, count }: PagesRead): number | undefined =>
  unlessBusy(addon.readPagesNow(fd, places, bytes, sums, count, false), 'read');
