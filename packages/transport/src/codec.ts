/**
 * Field codecs of the wire table: what a value may be, in one place for both directions.
 *
 * msgpack says how bytes become numbers, strings and arrays; a codec says which of them a field admits.
 * Everything that arrives is checked before anybody acts on it: a peer that breaks the table gets EPROTO and
 * is disconnected.
 */
import { FsError } from './errors.ts';

export interface Codec<T> {
  /** How the field is called in docs/protocol.md. */
  readonly type: string;
  /** Returns the value, or throws EPROTO when it is not one. */
  check(value: unknown, at: string): T;
  /** How the value travels, where that is not the value itself. */
  pack?(value: T): unknown;
}

export type TypeOf<C> = C extends Codec<infer T> ? T : never;

const refuse = (at: string, wanted: string): never => {
  throw new FsError('EPROTO', 'decode', { why: `${at} is not ${wanted}` });
};

function integer(type: string, min: number, max: number): Codec<number> {
  return {
    type,
    check: (v, at) =>
      Number.isInteger(v) && (v as number) >= min && (v as number) <= max ? (v as number) : refuse(at, type),
  };
}

export const u16 = integer('u16', 0, 0xffff);
export const u32 = integer('u32', 0, 0xffff_ffff);
export const u53 = integer('u53', 0, Number.MAX_SAFE_INTEGER);
export const i32 = integer('i32', -0x8000_0000, 0x7fff_ffff);

export const f64: Codec<number> = {
  type: 'f64',
  check: (v, at) => (typeof v === 'number' && Number.isFinite(v) ? v : refuse(at, 'a finite number')),
};

export const bool: Codec<boolean> = {
  type: 'bool',
  check: (v, at) => (typeof v === 'boolean' ? v : refuse(at, 'a boolean')),
};

/** A string of at most `max` UTF-16 units. */
export const text = (max: number): Codec<string> => ({
  type: `text(${max})`,
  check: (v, at) => (typeof v === 'string' && v.length <= max ? v : refuse(at, `a text of at most ${max}`)),
});

export const oneOf = <const T extends string>(...values: readonly T[]): Codec<T> => ({
  type: values.map((v) => `'${v}'`).join(' / '),
  check: (v, at) => (values.includes(v as T) ? (v as T) : refuse(at, `one of ${values.join(', ')}`)),
});

export const bytes = (length: number): Codec<Uint8Array> => ({
  type: `bytes(${length})`,
  check: (v, at) => (v instanceof Uint8Array && v.length === length ? v : refuse(at, `${length} bytes`)),
});

export const bytesUpTo = (most: number): Codec<Uint8Array> => ({
  type: `bytes(≤${most})`,
  check: (v, at) => (v instanceof Uint8Array && v.length <= most ? v : refuse(at, `at most ${most} bytes`)),
});

export const optional = <T>(inner: Codec<T>): Codec<T | undefined> => ({
  type: `${inner.type}?`,
  check: (v, at) => (v === undefined || v === null ? undefined : inner.check(v, at)),
  pack: (v) => (v === undefined ? null : packed(inner, v)),
});

const packed = <T>(codec: Codec<T>, value: T): unknown =>
  codec.pack === undefined ? value : codec.pack(value);

export const list = <T>(inner: Codec<T>, max: number): Codec<readonly T[]> => ({
  type: `${inner.type}[≤${max}]`,
  check: (v, at) =>
    Array.isArray(v) && v.length <= max
      ? v.map((item) => inner.check(item, at))
      : refuse(at, `a list of at most ${max}`),
  pack: (v) => (inner.pack === undefined ? v : v.map((item) => packed(inner, item))),
});

type Shape = Readonly<Record<string, Codec<unknown>>>;
export type RecordOf<S extends Shape> = { readonly [K in keyof S]: TypeOf<S[K]> };

type Optional<S extends Shape> = { [K in keyof S]: undefined extends TypeOf<S[K]> ? K : never }[keyof S];
/** What a sender gives for a record: fields that may be undefined may be left out. */
export type FieldsOf<S extends Shape> = { readonly [K in Exclude<keyof S, Optional<S>>]: TypeOf<S[K]> } & {
  readonly [K in Optional<S>]?: TypeOf<S[K]>;
};

/** A record travels as the list of its values, in the order of the declaration. */
export const record = <const S extends Shape>(name: string, shape: S): Codec<RecordOf<S>> => ({
  type: name,
  check: (v, at) => (Array.isArray(v) ? fromValues(shape, v, at) : refuse(at, `a ${name}`)),
  pack: (v) => toValues(shape, v),
});

/** The fields of a shape as a list, made once: every message is taken apart and put together by it. */
const fieldLists = new WeakMap<Shape, readonly (readonly [string, Codec<unknown>])[]>();

function fieldsIn(shape: Shape): readonly (readonly [string, Codec<unknown>])[] {
  let list = fieldLists.get(shape);
  if (list === undefined) {
    list = Object.entries(shape);
    fieldLists.set(shape, list);
  }
  return list;
}

/** The values of a record in the order of its declaration. */
export function toValues<S extends Shape>(shape: S, fields: FieldsOf<S>): unknown[] {
  const given = fields as Readonly<Record<string, unknown>>;
  return fieldsIn(shape).map(([key, codec]) => packed(codec, given[key]));
}

/**
 * Builds the record from its values; a missing last value is one that the sender left out because it was
 * undefined.
 */
export function fromValues<S extends Shape>(shape: S, values: readonly unknown[], at: string): RecordOf<S> {
  const fields = fieldsIn(shape);
  if (values.length > fields.length) refuse(at, `a record of ${fields.length} values`);
  const result: Record<string, unknown> = {};
  for (let i = 0; i < fields.length; i++) {
    const [key, codec] = fields[i] as readonly [string, Codec<unknown>];
    result[key] = codec.check(values[i], key);
  }
  return result as RecordOf<S>;
}

/** Any plain data of msgpack: for reports that people read, never for what the node acts on. */
export const report: Codec<unknown> = { type: 'report', check: (v) => v };

/** The values of a message of another table, which whoever takes it apart checks against that. */
export const values: Codec<readonly unknown[]> = {
  type: 'values',
  check: (v, at) => (Array.isArray(v) ? v : refuse(at, 'a list of values')),
};
