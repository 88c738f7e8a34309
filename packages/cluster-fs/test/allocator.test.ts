import type { Run } from '@cluster-fs/transport';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatSegment, geometryFor, PageAllocator, pageSize } from '../src/segment/index.ts';

const pageCount = 200;

describe('a page allocator', () => {
  test('agrees with a list of flags, whatever is asked', () => {
    const step = fc.record({
      kind: fc.constantFrom('allocate', 'allocate', 'run', 'extend', 'release', 'part'),
      count: fc.integer({ min: 0, max: 60 }),
      at: fc.nat(pageCount + 10),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const model = new FlagModel();
        const allocator = allocatorOf(pageCount);
        for (const { kind, count, at } of steps) {
          if (kind === 'allocate') model.took(allocator.allocate(count), count);
          else if (kind === 'run')
            model.tookRun(allocator.allocateRun(Math.max(1, count), at), Math.max(1, count), at);
          else if (kind === 'extend') model.extended(allocator.extendAt(at, count), at, count);
          else model.releaseOne(allocator, { index: at, part: kind === 'part' });
          model.expectSame(allocator);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('fills the segment to the last page, and gives undefined for one more', () => {
    for (const count of [1, 31, 32, 33, 64, 200]) {
      const allocator = allocatorOf(count);
      expect(allocator.allocate(count)).toEqual([{ page: 0, count }]);
      expect(allocator.allocate(1)).toBeUndefined();
      expect(allocator.allocateRun(1)).toBeUndefined();
      expect(allocator.extendAt(count, 5)).toBe(0);
      expect([...allocator.freeRuns()]).toEqual([]);
    }
  });

  test('takes the longest runs when no single one is long enough', () => {
    const allocator = allocatorOf(40);
    allocator.take({ page: 0, count: 40 });
    for (const run of [
      { page: 2, count: 3 },
      { page: 10, count: 8 },
      { page: 30, count: 5 },
    ])
      allocator.release(run);
    expect(allocator.allocate(12)).toEqual([
      { page: 10, count: 8 },
      { page: 30, count: 4 },
    ]);
    expect(allocator.allocate(4)).toEqual([
      { page: 2, count: 3 },
      { page: 34, count: 1 },
    ]);
    expect(allocator.free).toBe(0);
  });

  test('refuses to take what is taken, to release what is free, and what is outside', () => {
    const allocator = allocatorOf(64);
    allocator.take({ page: 10, count: 40 });
    for (const run of [
      { page: 0, count: 11 },
      { page: 49, count: 1 },
      { page: 10, count: 40 },
    ]) {
      expect(() => allocator.take(run)).toThrow(/was/);
    }
    for (const run of [
      { page: 9, count: 2 },
      { page: 49, count: 2 },
      { page: 60, count: 1 },
    ]) {
      expect(() => allocator.release(run)).toThrow(/was/);
    }
    expect(() => allocator.take({ page: 60, count: 5 })).toThrow(/segment/);
    expect(() => allocator.take({ page: -1, count: 1 })).toThrow(/segment/);
    expect(allocator.free).toBe(24);
  });

  test('finds again what a segment says', () => {
    const segment = segmentOf(100);
    const first = new PageAllocator(segment);
    first.take({ page: 0, count: 3 });
    first.take({ page: 31, count: 34 });
    const second = new PageAllocator(segment);
    expect(second.free).toBe(63);
    expect([...second.freeRuns()]).toEqual([
      { page: 3, count: 28 },
      { page: 65, count: 35 },
    ]);
  });

  test('names the words of the bitmap that changed, once', () => {
    const allocator = allocatorOf(128);
    allocator.take({ page: 30, count: 4 });
    allocator.release({ page: 30, count: 1 });
    expect([...allocator.takeDirtyWords()].sort()).toEqual([0, 1]);
    expect(allocator.takeDirtyWords().size).toBe(0);
  });
});

class FlagModel {
  readonly #used = new Array<boolean>(pageCount).fill(false);
  readonly #held: Run[] = [];

  get free(): number {
    return this.#used.filter((used) => !used).length;
  }

  took(runs: readonly Run[] | undefined, count: number): void {
    if (count > this.free) {
      expect(runs).toBeUndefined();
      return;
    }
    expect(runs?.reduce((sum, run) => sum + run.count, 0)).toBe(count);
    if (count > 0 && this.#longest() >= count) expect(runs).toHaveLength(1);
    for (const run of runs ?? []) this.#take(run);
  }

  tookRun(run: Run | undefined, count: number, from: number): void {
    const places = this.#runs().map(({ page, count: length }) => ({
      page: Math.max(page, from),
      end: page + length,
    }));
    const first = places.find(({ page, end }) => end - page >= count);
    expect(run).toEqual(first === undefined ? undefined : { page: first.page, count });
    if (run !== undefined) this.#take(run);
  }

  extended(got: number, page: number, count: number): void {
    let expected = 0;
    while (expected < count && this.#used[page + expected] === false) expected++;
    expect(got).toBe(expected);
    if (got > 0) this.#take({ page, count: got });
  }

  releaseOne(allocator: PageAllocator, { index, part }: { index: number; part: boolean }): void {
    const [run] = this.#held.splice(index % Math.max(1, this.#held.length), 1);
    if (run === undefined) return;
    const released = part ? { page: run.page, count: Math.ceil(run.count / 2) } : run;
    if (released.count < run.count) {
      this.#held.push({ page: run.page + released.count, count: run.count - released.count });
    }
    allocator.release(released);
    this.#used.fill(false, released.page, released.page + released.count);
  }

  expectSame(allocator: PageAllocator): void {
    expect(allocator.free).toBe(this.free);
    expect([...allocator.freeRuns()]).toEqual(this.#runs());
    expect([...allocator.usedRuns()]).toEqual(this.#runs({ used: true }));
  }

  #take(run: Run): void {
    for (let page = run.page; page < run.page + run.count; page++) {
      expect(this.#used[page], `page ${page} was free`).toBe(false);
      this.#used[page] = true;
    }
    this.#held.push(run);
  }

  #longest(): number {
    return Math.max(0, ...this.#runs().map(({ count }) => count));
  }

  #runs({ used: wanted } = { used: false }): Run[] {
    const runs: Run[] = [];
    for (const [page, used] of this.#used.entries()) {
      const last = runs.at(-1);
      if (used !== wanted) continue;
      if (last !== undefined && last.page + last.count === page)
        runs[runs.length - 1] = { ...last, count: last.count + 1 };
      else runs.push({ page, count: 1 });
    }
    return runs;
  }
}

const allocatorOf = (pages: number): PageAllocator => new PageAllocator(segmentOf(pages));

function segmentOf(pages: number) {
  const geometry = geometryFor({ dataSize: pages * pageSize, inodeCount: 16 });
  const id = Buffer.alloc(16, 1);
  return formatSegment(new ArrayBuffer(geometry.metaSize), { geometry, id, epoch: 1, nowMs: 0, nodePid: 1 });
}
