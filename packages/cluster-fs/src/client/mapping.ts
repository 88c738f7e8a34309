/**
 * The pages under one view: one contiguous stretch of this process's address space over a file that may lie
 * in many pieces. Runs in the session worker; the application's arrays are over the same addresses.
 *
 * INVARIANT: every page of the stretch is mapped, at all times: to the segment where the file has a page, and
 * to anonymous zeros where it has none. So a touch finds the file, zeros, or waits; it never finds nothing.
 */
import { type Extent, native } from '@cluster-fs/transport';
import { pageSize } from '../segment/layout.ts';

export interface Mapping {
  readonly address: number;
  /** First file page, and how many pages. */
  readonly from: number;
  readonly pages: number;
  readonly mode: 'r' | 'rw';
  readonly label: string;
}

/**
 * Reserves addresses for a view; nothing is mapped yet. An empty view has one page, so that it has an
 * address.
 */
export function reserveMapping(options: Omit<Mapping, 'address'>): Mapping {
  const pages = Math.max(1, options.pages);
  const address = native.reserveAddressRange(pages * pageSize);
  try {
    native.guardRange(address, pages * pageSize, options.label);
  } catch (error) {
    native.unmap(address, pages * pageSize);
    throw error;
  }
  return { ...options, address };
}

export const mappedLength = ({ pages }: Mapping): number => Math.max(1, pages) * pageSize;

interface Under {
  readonly dataFd: number;
  readonly userfault: number | undefined;
  /** Whether whoever touches the pages waits until the mapping is resumed. */
  readonly isPaused?: boolean;
}

/**
 * Maps file pages `from` .. `from + count` to `extents`, over whatever was there: other threads see the old
 * page or the new one. Then wakes whoever waits for a page of the range.
 */
export function applyExtents(
  mapping: Mapping,
  { dataFd, userfault, isPaused = false }: Under,
  { from, count, extents }: { from: number; count: number; extents: readonly Extent[] },
): void {
  const protection = isPaused ? 'none' : protectionOf(mapping);

  const first = Math.max(from, mapping.from);
  const end = Math.min(from + count, mapping.from + mapping.pages);
  let next = first;
  for (const e of extents) {
    if (e.filePage < next || e.filePage + e.count > end) continue;
    if (e.filePage > next) mapZeros(mapping, { filePage: next, count: e.filePage - next, protection });
    mapPages(mapping, { fd: dataFd, ...e, protection });
    next = e.filePage + e.count;
  }
  if (next < end) mapZeros(mapping, { filePage: next, count: end - next, protection });
  if (userfault !== undefined && end > first) {
    native.wakeUserfault(userfault, addressOf(mapping, first), (end - first) * pageSize);
  }
}

/**
 * Leaves the pages as they are mapped, and has touches of absent ones wait, and no store wait for a node that
 * is gone. Whoever waits for a page of the view tries again.
 */
export function rearm(mapping: Mapping, userfault: number, extents: readonly Extent[]): void {
  for (const { filePage, count } of extents) {
    const [address, length] = [addressOf(mapping, filePage), count * pageSize];
    native.registerUserfault(userfault, address, length, { missing: true, writeProtect: true });
    native.writeProtectUserfault(userfault, address, length, false);
  }
  native.wakeUserfault(userfault, mapping.address, mappedLength(mapping));
}

/** Whoever touches the view waits from here on, until it is resumed. False when that cannot be done. */
export const pauseMapping = (mapping: Mapping): boolean =>
  native.pauseGuarded(mapping.address, mappedLength(mapping));

/** Touches go on. */
export const resumeMapping = (mapping: Mapping): void =>
  native.resumeGuarded(mapping.address, mappedLength(mapping), protectionOf(mapping));

const addressOf = ({ address, from }: Mapping, filePage: number): number =>
  address + (filePage - from) * pageSize;
const protectionOf = ({ mode }: Mapping) => (mode === 'rw' ? 'read-write' : 'read');

interface Placed {
  readonly filePage: number;
  readonly count: number;
  readonly protection: native.Protection;
}

function mapPages(
  mapping: Mapping,
  { fd, filePage, page, count, protection }: Placed & Extent & { readonly fd: number },
): void {
  const address = addressOf(mapping, filePage);
  native.mapFile({ fd, offset: page * pageSize, length: count * pageSize, protection, address });
}

function mapZeros(mapping: Mapping, { filePage, count, protection }: Placed): void {
  const address = addressOf(mapping, filePage);
  native.mapAnonymous({ address, length: count * pageSize, protection });
}

/**
 * Puts zeros in place of the file, under the whole stretch. `isUsed`: by arrays that cannot be taken back
 * (SharedArrayBuffer); else nobody touches it any more, and the addresses are kept from others.
 */
export function abandonMapping(mapping: Mapping, { isUsed }: { readonly isUsed: boolean }): void {
  const [address, length] = [mapping.address, mappedLength(mapping)];
  native.unguardRange(address);
  native.mapAnonymous({ address, length, protection: isUsed ? 'read-write' : 'none' });
}

/** No touch of the stretch waits any more, whatever was armed there. */
export const disarm = (mapping: Mapping, userfault: number): void =>
  native.unregisterUserfault(userfault, mapping.address, mappedLength(mapping));

/** Gives the addresses back. Requires: no array is over them any more. */
export function unmapMapping(mapping: Mapping): void {
  native.unguardRange(mapping.address);
  native.unmap(mapping.address, mappedLength(mapping));
}

/** The part of an extent between two file pages: none or one. */
export function part({ filePage, page, count }: Extent, from: number, end: number): Extent[] {
  const start = Math.max(filePage, from);
  const stop = Math.min(filePage + count, end);
  return start < stop ? [{ filePage: start, page: page + start - filePage, count: stop - start }] : [];
}

/** The extents of a view after a remap of a part of it. */
export const replaceExtents = (
  extents: readonly Extent[],
  { from, count, extents: next }: { from: number; count: number; extents: readonly Extent[] },
): Extent[] => [
  ...extents.flatMap((e) => part(e, 0, from)),
  ...next,
  ...extents.flatMap((e) => part(e, from + count, Number.MAX_SAFE_INTEGER)),
];

/** File pages that follow each other, and what is to be under them. */
interface Change {
  readonly from: number;
  count: number;
  readonly extents: Extent[];
}

/** Where a stretch is to show other pages than before. Both lists are in file order. */
export function changesBetween(
  before: readonly Extent[],
  after: readonly Extent[],
  { from, pages }: Pick<Mapping, 'from' | 'pages'>,
): Change[] {
  const changes: Change[] = [];
  const ends = new Set([from, from + pages]);
  for (const { filePage, count } of [...before, ...after]) ends.add(filePage).add(filePage + count);
  const cuts = [...ends].filter((cut) => cut >= from && cut <= from + pages).sort((a, b) => a - b);
  const [pageBefore, pageAfter] = [pagesOf(before), pagesOf(after)];
  for (const [i, filePage] of cuts.slice(0, -1).entries()) {
    const count = (cuts[i + 1] as number) - filePage;
    const page = pageAfter(filePage);
    if (pageBefore(filePage) === page) continue;
    const last = changes.at(-1);
    const goesOn = last !== undefined && last.from + last.count === filePage;
    const change = goesOn ? last : { from: filePage, count: 0, extents: [] };
    if (!goesOn) changes.push(change);
    change.count += count;
    if (page !== undefined) change.extents.push({ filePage, page, count });
  }
  return changes;
}

/** The page of a file page, of one that is behind the last that was asked for; undefined in a hole. */
function pagesOf(extents: readonly Extent[]): (filePage: number) => number | undefined {
  let i = 0;
  return (filePage) => {
    for (let e = extents[i]; e !== undefined && e.filePage + e.count <= filePage; e = extents[i]) i++;
    const e = extents[i];
    return e !== undefined && e.filePage <= filePage ? e.page + filePage - e.filePage : undefined;
  };
}

export const samePlaces = (a: readonly Extent[], b: readonly Extent[]): boolean =>
  a.length === b.length &&
  a.every((e, i) => e.filePage === b[i]?.filePage && e.page === b[i]?.page && e.count === b[i]?.count);
