/** Where a view that advances shows other pages: each that changed, and no other. */
import type { Extent } from '@cluster-fs/transport';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { changesBetween } from '../src/client/mapping.ts';

/** The page of each page of a file, none in a hole. */
type Pages = readonly (number | undefined)[];

/** In as few extents as can be, or cut somewhere. */
function extentsOf(pages: Pages, cuts: readonly boolean[]): Extent[] {
  const extents: { filePage: number; page: number; count: number }[] = [];
  for (const [filePage, page] of pages.entries()) {
    if (page === undefined) continue;
    const last = extents.at(-1);
    const follows =
      last !== undefined && last.page + last.count === page && last.filePage + last.count === filePage;
    if (follows && cuts[filePage] !== true) last.count++;
    else extents.push({ filePage, page, count: 1 });
  }
  return extents;
}

function pagesOf(extents: readonly Extent[], from: number, count: number): Pages {
  const pages: (number | undefined)[] = Array.from({ length: count });
  for (const { filePage, page, count } of extents)
    for (let i = 0; i < count; i++) pages[filePage - from + i] = page + i;
  return pages;
}

const some = { maxLength: 12 };
const file = fc.array(fc.option(fc.nat(6), { nil: undefined }), some);
const cuts = fc.array(fc.boolean(), some);

test('what differs is in one change each, with the pages of after', () => {
  fc.assert(
    fc.property(
      file,
      cuts,
      file,
      cuts,
      fc.nat(4),
      fc.nat(12),
      (was, cutsOfWas, is, cutsOfIs, from, pages) => {
        const changes = changesBetween(extentsOf(was, cutsOfWas), extentsOf(is, cutsOfIs), { from, pages });
        const changed = new Set<number>();
        let end = -1;
        for (const { from, count, extents } of changes) {
          expect(from, 'in order, and not side by side').toBeGreaterThan(end);
          end = from + count;
          for (let i = from; i < end; i++) changed.add(i);
          const expected = Array.from({ length: count }, (_, i) => is[from + i]);
          expect(pagesOf(extents, from, count)).toEqual(expected);
        }
        for (let i = from; i < from + pages; i++) expect(changed.has(i)).toBe(was[i] !== is[i]);
        for (const i of changed) expect(i >= from && i < from + pages).toBe(true);
      },
    ),
    { numRuns: 2000 },
  );
});
