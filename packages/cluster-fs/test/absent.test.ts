/** The bitmap of absent pages against a plain list of flags. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  absentRuns,
  counter,
  formatSegment,
  geometryFor,
  hasAbsent,
  pageSize,
  setAbsent,
} from '../src/segment/index.ts';

const pageCount = 200;

const step = fc
  .record({ page: fc.nat(pageCount - 1), length: fc.integer({ min: 1, max: 140 }), absent: fc.boolean() })
  .map(({ page, length, absent }) => ({ page, count: Math.min(length, pageCount - page), absent }));

test('agrees with a list of flags, and counts', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const geometry = geometryFor({ dataSize: pageCount * pageSize, inodeCount: 16 });
      const options = { geometry, id: Buffer.alloc(16, 1), epoch: 1, nowMs: 0, nodePid: 1, paged: true };
      const segment = formatSegment(new ArrayBuffer(geometry.metaSize), options);
      const flags = new Array<boolean>(pageCount).fill(false);
      for (const { page, count, absent } of steps) {
        setAbsent(segment, { page, count }, absent);
        flags.fill(absent, page, page + count);
        const runs = absentRuns(segment, { page: 0, count: pageCount });
        const found = new Array<boolean>(pageCount).fill(false);
        for (const run of runs) found.fill(true, run.page, run.page + run.count);
        expect(found).toEqual(flags);
        expect(hasAbsent(segment, { page, count })).toBe(absent);
        const [from, end] = [Math.floor(page / 2), Math.ceil((page + pageCount) / 2)];
        const isSome = flags.slice(from, end).some(Boolean);
        expect(hasAbsent(segment, { page: from, count: end - from })).toBe(isSome);
        expect(counter(segment, 'absentPages')).toBe(flags.filter(Boolean).length);
      }
    }),
    { numRuns: 200 },
  );
});
