import { expect, test } from 'vitest';
import { StagMap } from '../src/cluster/stag-map.ts';

const stag = (last: number, length = 16): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i === length - 1 ? last : 7));

test('tells STags apart that begin with the same bytes, and finds one by its bytes', () => {
  const map = new StagMap<string>();
  map.set(stag(1), 'one');
  map.set(stag(2), 'two');
  expect([map.get(stag(1)), map.get(stag(2)), map.get(stag(3))]).toEqual(['one', 'two', undefined]);
  expect(map.get(stag(1, 15))).toBeUndefined();
  expect(map.size).toBe(2);
  map.delete(stag(1));
  expect([map.get(stag(1)), map.get(stag(2))]).toEqual([undefined, 'two']);
  expect([...map]).toEqual([[stag(2), 'two']]);
});

test('has one value for each, the last', () => {
  const map = new StagMap<number>();
  map.set(stag(1), 1);
  map.set(stag(1), 2);
  expect([map.get(stag(1)), map.size]).toEqual([2, 1]);
  map.delete(stag(2));
  expect(map.size).toBe(1);
  map.clear();
  expect([map.get(stag(1)), map.size]).toEqual([undefined, 0]);
});
