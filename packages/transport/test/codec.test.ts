import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bool,
  bytes,
  type Codec,
  f64,
  fromValues,
  list,
  oneOf,
  optional,
  record,
  text,
  toValues,
  u32,
  u53,
} from '../src/codec.ts';
import { events, requests } from '../src/messages.ts';

type Shape = Readonly<Record<string, Codec<unknown>>>;

const run = record('run', { page: u32, count: u32 });

describe('a codec', () => {
  test.each<[string, Codec<unknown>, unknown[], unknown[]]>([
    ['u32', u32, [0, 1, 2 ** 32 - 1], [-1, 2 ** 32, 0.5, '1', null, Number.NaN, 1n, [1]]],
    ['u53', u53, [0, 2 ** 53 - 1], [-1, 2 ** 53, Number.POSITIVE_INFINITY, undefined]],
    ['f64', f64, [0, -1.5, 1e300], [Number.NaN, Number.POSITIVE_INFINITY, '0', null]],
    ['bool', bool, [true, false], [0, 'true', null]],
    ['text', text(3), ['', 'abc'], ['abcd', 3, null, ['a']]],
    ['oneOf', oneOf('r', 'rw'), ['r', 'rw'], ['w', '', 0, null]],
    [
      'bytes',
      bytes(2),
      [Uint8Array.of(1, 2), Buffer.from('ab')],
      [Uint8Array.of(1), 'ab', [1, 2], new Uint16Array(2)],
    ],
    ['optional', optional(u32), [7], ['7', -1]],
    ['list', list(u32, 2), [[], [1], [1, 2]], [[1, 2, 3], ['1'], {}, 'x', null]],
    ['record', run, [], [[1, 2, 3], [1], {}, null, [1, -1]]],
  ])('%s takes what it means and nothing else', (_, codec, good, bad) => {
    for (const value of good) expect(codec.check(value, 'field')).toEqual(value);
    for (const value of bad) {
      expect(() => codec.check(value, 'field'), String(value)).toThrow(
        expect.objectContaining({ code: 'EPROTO' }),
      );
    }
  });

  test('says which field was wrong', () => {
    const shape = { runs: list(run, 4) };
    expect(() =>
      fromValues(
        shape,
        [
          [
            [1, 2],
            [3, 'x'],
          ],
        ],
        'put',
      ),
    ).toThrow(/count is not u32/);
  });

  test('reads what an older sender leaves out as undefined, and refuses what a newer one adds', () => {
    const shape = { a: u32, b: optional(u32) };
    expect(fromValues(shape, [1], 'm')).toEqual({ a: 1, b: undefined });
    expect(fromValues(shape, [1, null], 'm')).toEqual({ a: 1, b: undefined });
    expect(() => fromValues(shape, [1, 2, 3], 'm')).toThrow(/m is not a record of 2 values/);
    expect(() => fromValues(shape, [], 'm')).toThrow(/a is not u32/);
  });

  test('records travel as lists, in lists and by themselves', () => {
    const shape = { runs: list(run, 9), one: optional(run) };
    const fields = {
      runs: [
        { page: 1, count: 2 },
        { page: 3, count: 4 },
      ],
      one: { page: 5, count: 6 },
    };
    const values = toValues(shape, fields);
    expect(values).toEqual([
      [
        [1, 2],
        [3, 4],
      ],
      [5, 6],
    ]);
    expect(fromValues(shape, values, 'm')).toEqual(fields);
  });
});

const shapes: Record<string, Shape> = {
  ...Object.fromEntries(
    Object.entries(requests).flatMap(([name, { fields, reply }]) => [
      [name, fields as Shape],
      [`${name}'s reply`, reply as Shape],
    ]),
  ),
  ...Object.fromEntries(Object.entries(events).map(([name, { fields }]) => [name, fields as Shape])),
};

describe('the wire table', () => {
  test('gives each message a number of its own', () => {
    const ids = [...Object.values(requests), ...Object.values(events)].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.every((id) => id > 2 && id < 256)).toBe(true);
  });

  test('takes any values at all, or refuses them with EPROTO', () => {
    for (const [name, shape] of Object.entries(shapes)) {
      fc.assert(
        fc.property(fc.array(fc.anything(), { maxLength: 12 }), (values) => {
          const outcome = attempt(() => fromValues(shape, values, name));
          if (outcome instanceof Error) expect(outcome, name).toMatchObject({ code: 'EPROTO' });
        }),
        { numRuns: 50 },
      );
    }
  });
});

function attempt(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return error;
  }
}
