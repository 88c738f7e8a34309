/** The nodes that keep files: a number for each, for good, as long as there are some left. */
import { maxHomes } from 'cluster-fs/segment';
import { expect, test } from 'vitest';
import { Roster } from '../src/cluster/roster.ts';
import type { MetadataStore } from '../src/metadata/store.ts';

function scene() {
  const rows = new Map<string, string>();
  const store = {
    superblock: (key: string) => rows.get(key),
    setSuperblock: (values: Readonly<Record<string, string>>) => {
      for (const [key, value] of Object.entries(values)) rows.set(key, value);
    },
  } as unknown as MetadataStore;
  const roster = new Roster();
  roster.load(store, 'a');
  const reached = { url: 'tcp://127.0.0.1:1', memoryBytes: 0, capacityBytes: 0, isStored: false };
  const keep = (nodeId: number, keepsSome = (_: number) => true) =>
    roster.keep(
      { store, keepsSome },
      { clusterId: new Uint8Array(16), nodeId, name: `node-${nodeId}`, incarnation: 1 },
      reached,
    );
  return { roster, store, keep };
}

test('a node for which no number is left is refused, and those of before come back', () => {
  const { roster, store, keep } = scene();
  for (let nodeId = 1; nodeId < maxHomes; nodeId++) expect(keep(nodeId).number).toBe(nodeId);
  expect(() => keep(maxHomes)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  expect(roster.keepers).toHaveLength(maxHomes - 1);
  expect(keep(7).number).toBe(7);
  const next = new Roster();
  next.load(store, 'a');
  expect(next.keepers).toHaveLength(maxHomes - 1);
});

test('the number of a node that is gone, and has left no file, is given to another', () => {
  const { roster, store, keep } = scene();
  for (let nodeId = 1; nodeId < maxHomes; nodeId++) keep(nodeId);
  for (const nodeId of [5, 9]) roster.left(nodeId);
  const keepsSome = (number: number): boolean => number !== 9;
  expect(keep(maxHomes, keepsSome)).toMatchObject({ number: 9, nodeId: maxHomes });
  // The one that had it is new when it comes back, and gets none.
  expect(() => keep(9, keepsSome)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  expect(keep(5, keepsSome).number).toBe(5);
  const next = new Roster();
  next.load(store, 'a');
  expect(next.of(9)).toMatchObject({ nodeId: maxHomes, name: `node-${maxHomes}` });
});
