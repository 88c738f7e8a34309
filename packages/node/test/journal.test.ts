/** Group commit, with a store that fails when the test says so. */
import { FsError } from '@cluster-fs/transport';
import {
  DirectorySlots,
  encodeName,
  fileType,
  formatSegment,
  geometryFor,
  insertDirent,
  lookup,
  rootIno,
  type Segment,
  SegmentWriter,
} from 'cluster-fs/segment';
import { describe, expect, test, vi } from 'vitest';
import { Journal } from '../src/coordinator/journal.ts';
import type { Change, MetadataStore } from '../src/metadata/store.ts';

function scene() {
  const geometry = geometryFor({ dataSize: 64 * 4096, inodeCount: 64 });
  const options = { geometry, id: Buffer.alloc(16, 1), epoch: 1, nowMs: 0, nodePid: 1 };
  const format = () => formatSegment(new ArrayBuffer(geometry.metaSize), options);
  const published = format();
  const writer = new SegmentWriter(format());
  const batches: Change[][] = [];
  const trouble: { next: Error | undefined } = { next: undefined };
  const commit = vi.fn((changes: readonly Change[]) => {
    const { next } = trouble;
    trouble.next = undefined;
    if (next !== undefined) throw next;
    batches.push([...changes]);
  });
  const errors: unknown[] = [];
  const store = { commit } as unknown as MetadataStore;
  const journal = new Journal({ writer, published, store }, (error) => errors.push(error));
  const slots = new DirectorySlots();
  const make = (name: string, then?: () => void) => () => {
    const ino = writer.takeInode() ?? 0;
    Object.assign(writer.touchInode(ino), { mode: fileType.file, nlink: 1 });
    insertDirent(writer, slots, { parent: rootIno, name, ino, type: fileType.file });
    journal.change({ type: 'putDirent', row: { parent: rootIno, name, ino } });
    then?.();
    return name;
  };
  const isThere = (segment: Segment, name: string) => lookup(segment, rootIno, encodeName(name)).ino !== 0;
  return { journal, writer, published, batches, trouble, errors, make, isThere };
}

async function withRoot() {
  const s = scene();
  await s.journal.mutate(() =>
    Object.assign(s.writer.touchInode(s.writer.takeInode() ?? 0), { mode: fileType.directory, nlink: 2 }),
  );
  s.batches.length = 0;
  return s;
}

describe('the journal', () => {
  test('commits all changes of a turn together, and answers each with its own result', async () => {
    const { journal, batches, make } = await withRoot();
    const results = await Promise.all(['a', 'b', 'c'].map((name) => journal.mutate(make(name))));
    expect(results).toEqual(['a', 'b', 'c']);
    expect(batches).toHaveLength(1);
    expect(batches[0]?.filter(({ type }) => type === 'putDirent')).toHaveLength(3);
  });

  test('shows nothing before it is committed, and answers nothing before it is shown', async () => {
    const { journal, published, writer, make, isThere } = await withRoot();
    let shownAtEffect = false;
    const made = journal.mutate(
      make('a', () =>
        journal.afterCommit(() => {
          shownAtEffect = isThere(published, 'a');
        }),
      ),
    );
    expect(isThere(writer.segment, 'a')).toBe(true);
    expect(isThere(published, 'a')).toBe(false);
    await made;
    expect(isThere(published, 'a')).toBe(true);
    expect(shownAtEffect).toBe(true);
  });

  test('undoes an operation that throws, and no other of its turn', async () => {
    const { journal, published, batches, make, isThere } = await withRoot();
    const effect = vi.fn();
    const outcomes = await Promise.allSettled([
      journal.mutate(make('a')),
      journal.mutate(
        make('b', () => {
          journal.afterCommit(effect);
          throw new FsError('ENOSPC', 'write');
        }),
      ),
      journal.mutate(make('c')),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(['a', 'b', 'c'].map((name) => isThere(published, name))).toEqual([true, false, true]);
    expect(effect).not.toHaveBeenCalled();
    const names = batches[0]?.flatMap((change) => (change.type === 'putDirent' ? [change.row.name] : []));
    expect(names).toEqual(['a', 'c']);
  });

  test('goes on with a commit that cannot be told to others', async () => {
    const { journal, published, errors, make, isThere } = await withRoot();
    const effect = vi.fn();
    const reason = new FsError('EMSGSIZE', 'send');
    journal.replicate = () => {
      throw reason;
    };
    expect(await journal.mutate(make('a', () => journal.afterCommit(effect)))).toBe('a');
    expect(effect).toHaveBeenCalledOnce();
    expect(isThere(published, 'a')).toBe(true);
    expect(errors).toEqual([reason]);
  });

  test('undoes the whole turn when the store refuses it, and goes on', async () => {
    const { journal, published, writer, trouble, make, isThere } = await withRoot();
    const effect = vi.fn();
    trouble.next = new FsError('ENOSPC', 'write', { why: 'disk is full' });
    const outcomes = await Promise.allSettled([
      journal.mutate(make('a', () => journal.afterCommit(effect))),
      journal.mutate(make('b')),
    ]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ENOSPC' } });
    }
    for (const segment of [published, writer.segment])
      expect(isThere(segment, 'a') || isThere(segment, 'b')).toBe(false);
    expect(effect).not.toHaveBeenCalled();
    expect(await journal.mutate(make('a'))).toBe('a');
    expect(isThere(published, 'a')).toBe(true);
  });

  test('turns what is no error of ours into EIO', async () => {
    const { journal, trouble, make } = await withRoot();
    trouble.next = new Error('something else');
    await expect(journal.mutate(make('a'))).rejects.toMatchObject({ code: 'EIO' });
  });

  test('goes on with the other effects and answers when one throws', async () => {
    const { journal, errors, make } = await withRoot();
    const later = vi.fn();
    const first = journal.mutate(
      make('a', () =>
        journal.afterCommit(() => {
          throw new Error('effect');
        }),
      ),
    );
    const second = journal.mutate(make('b', () => journal.afterCommit(later)));
    expect(await Promise.all([first, second])).toEqual(['a', 'b']);
    expect(later).toHaveBeenCalledOnce();
    expect(errors).toEqual([expect.objectContaining({ message: 'effect' })]);
  });

  test('commits what an effect changes in the next turn', async () => {
    const { journal, batches, published, make, isThere } = await withRoot();
    await journal.mutate(make('a', () => journal.afterCommit(() => void journal.mutate(make('b')))));
    await vi.waitFor(() => expect(batches).toHaveLength(2));
    expect(isThere(published, 'b')).toBe(true);
    expect(batches[1]?.map(({ type }) => type).sort()).toEqual(['putDirent', 'putInode', 'putInode']);
  });

  test('undoes what an effect changed when the store refuses that', async () => {
    const { journal, writer, published, trouble, make, isThere } = await withRoot();
    let second: Promise<unknown> = Promise.resolve();
    await journal.mutate(
      make('a', () =>
        journal.afterCommit(() => {
          trouble.next = new FsError('ENOSPC', 'write');
          second = journal.mutate(make('b'));
        }),
      ),
    );
    await expect(second).rejects.toMatchObject({ code: 'ENOSPC' });
    expect([isThere(writer.segment, 'b'), isThere(published, 'b')]).toEqual([false, false]);
  });

  test('writes nothing for a turn in which nothing changed', async () => {
    const { journal, batches } = await withRoot();
    expect(await journal.mutate(() => 'nothing')).toBe('nothing');
    expect(batches).toEqual([]);
  });
});
