import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bytes,
  f64,
  readU53,
  signature,
  struct,
  toMarkdown,
  u8,
  u16,
  u32,
  u53,
  u64,
  writeU53,
} from '../src/binary.ts';

const everything = struct('everything', 48, {
  small: u8('one byte'),
  flag: u8('another'),
  short: u16('two bytes'),
  word: u32('four bytes'),
  size: u53('a size'),
  counter: u64('a counter'),
  time: f64('a time'),
  text: bytes(16, 'some bytes'),
});

describe('a struct', () => {
  test.each([
    [
      'a field off its alignment',
      () => struct('s', 8, { a: u8(''), b: u32(''), c: u16(''), d: u8('') }),
      /s\.b: offset 1/,
    ],
    ['a hole at the end', () => struct('s', 8, { a: u32('') }), /the fields take 4 bytes, declared 8/],
    ['too small a size', () => struct('s', 4, { a: u53('') }), /the fields take 8 bytes, declared 4/],
  ])('with %s is refused when it is declared', (_, declare, message) => {
    expect(declare).toThrow(message);
  });

  test('puts each field where its declaration says, in little-endian', () => {
    expect(everything.offset).toEqual({
      small: 0,
      flag: 1,
      short: 2,
      word: 4,
      size: 8,
      counter: 16,
      time: 24,
      text: 32,
    });
    const buffer = new Uint8Array(48);
    const record = everything.bind(new DataView(buffer.buffer)).at(0);
    Object.assign(record, {
      small: 1,
      flag: 2,
      short: 0x0403,
      word: 0x08070605,
      size: 0x1_0000_0002,
      counter: 3n,
      time: 1,
    });
    record.text = Uint8Array.of(9, 8, 7);
    expect([...buffer]).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 9,
      8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
  });

  test('gives back what was stored, at any place, and leaves its neighbours alone', () => {
    const values = fc.record({
      small: fc.nat(0xff),
      flag: fc.nat(0xff),
      short: fc.nat(0xffff),
      word: fc.nat(0xffff_ffff),
      size: fc.maxSafeNat(),
      counter: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      time: fc.double({ noNaN: true }),
      text: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    });
    fc.assert(
      fc.property(values, fc.nat(4), (stored, index) => {
        const buffer = new Uint8Array(5 * everything.size).fill(0xaa);
        const record = everything.bind(new DataView(buffer.buffer));
        Object.assign(record.at(index * everything.size), stored);
        const { small, flag, short, word, size, counter, time, text } = record;
        expect({ small, flag, short, word, size, counter, time, text: Uint8Array.from(text) }).toEqual(
          stored,
        );
        const around = buffer.filter((_, at) => Math.floor(at / everything.size) !== index);
        expect(around.every((byte) => byte === 0xaa)).toBe(true);
      }),
    );
  });

  test.each([
    ['small', -1],
    ['small', 256],
    ['short', 65_536],
    ['word', 2 ** 32],
    ['word', 1.5],
    ['size', -1],
    ['size', 2 ** 53],
    ['size', Number.NaN],
    ['size', Number.POSITIVE_INFINITY],
    ['word', '7'],
  ])('refuses to store %s = %s, and stores nothing', (field, value) => {
    const buffer = new Uint8Array(everything.size);
    const record = everything.bind(new DataView(buffer.buffer)).at(0);
    expect(() => Object.assign(record, { [field]: value })).toThrow(`${field}: ${value} is not an integer`);
    expect(buffer.every((byte) => byte === 0)).toBe(true);
  });

  test('refuses bytes that do not fit, and fills up those that do', () => {
    const record = everything.bind(new DataView(new ArrayBuffer(48))).at(0);
    record.text = new Uint8Array(16).fill(1);
    expect(() => {
      record.text = new Uint8Array(17);
    }).toThrow('text: 17 bytes do not fit in 16');
    record.text = Uint8Array.of(2);
    expect([...record.text]).toEqual([2, ...Array(15).fill(0)]);
  });
});

test('a u53 holds every safe integer', () => {
  const view = new DataView(new ArrayBuffer(8));
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      writeU53(view, 0, value);
      expect(readU53(view, 0)).toBe(value);
      expect(view.getBigUint64(0, true)).toBe(BigInt(value));
    }),
  );
});

test('the table of a struct has a row for each field', () => {
  expect(toMarkdown(struct('pair', 16, { first: u32('one'), rest: bytes(12, 'two') }))).toBe(
    [
      '### pair (16 bytes)',
      '',
      '| offset | field | type | meaning |',
      '|--:|---|---|---|',
      '| 0 | first | u32 | one |',
      '| 4 | rest | bytes[12] | two |',
    ].join('\n'),
  );
});

test('the signature changes with a name, a type, an order or a size, and with no sentence', () => {
  const of = (fields: Parameters<typeof struct>[2]) => signature([struct('s', 8, fields)]);
  const plain = of({ a: u32('x'), b: u32('y') });
  expect(of({ a: u32('other'), b: u32('words') })).toBe(plain);
  for (const other of [
    { a: u32('x'), c: u32('y') },
    { b: u32('y'), a: u32('x') },
    { a: u53('x') },
    { a: u32('x'), b: bytes(4, 'y') },
  ]) {
    expect(of(other)).not.toBe(plain);
  }
});
