/**
 * Binary layouts as tables. A struct is declared once, field by field with a sentence on each; offsets,
 * reading, writing, the document's table and the layout hash all come from that one declaration.
 *
 * Little-endian, fixed widths, natural alignment. A misaligned field or a wrong total is refused when the
 * module loads, so a layout that compiles and starts is a layout without holes.
 */
import { assert } from './errors.ts';

type Kind = 'u8' | 'u16' | 'u32' | 'u53' | 'u64' | 'f64' | 'bytes';

/** One field of a struct. `Value` exists for the type system only. */
export interface Field<Value> {
  readonly kind: Kind;
  readonly size: number;
  readonly align: number;
  readonly doc: string;
  readonly value?: Value;
}

const field = <Value>(kind: Kind, size: number, align: number, doc: string): Field<Value> => ({
  kind,
  size,
  align,
  doc,
});

export const u8 = (doc: string) => field<number>('u8', 1, 1, doc);
export const u16 = (doc: string) => field<number>('u16', 2, 2, doc);
export const u32 = (doc: string) => field<number>('u32', 4, 4, doc);
/** An unsigned integer below 2^53 in eight bytes, read as a plain number: ten times cheaper than a bigint. */
export const u53 = (doc: string) => field<number>('u53', 8, 8, doc);
/** A counter that must be read whole: touched only through Atomics on a BigUint64Array. */
export const u64 = (doc: string) => field<bigint>('u64', 8, 8, doc);
export const f64 = (doc: string) => field<number>('f64', 8, 8, doc);
export const bytes = (length: number, doc: string) => field<Uint8Array>('bytes', length, 1, doc);

type Fields = Readonly<Record<string, Field<unknown>>>;
type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends Field<infer V> ? V : never };

/** A movable window on records of one struct. `at` returns the cursor itself, so nothing is allocated. */
export type Cursor<F extends Fields> = Values<F> & { at(offset: number): Cursor<F>; readonly base: number };

export interface Struct<F extends Fields> {
  readonly name: string;
  readonly size: number;
  readonly fields: F;
  /** Byte offset of each field from the start of the record. */
  readonly offset: { readonly [K in keyof F]: number };
  bind(view: DataView): Cursor<F>;
}

/**
 * Declares a struct of exactly `size` bytes.
 *
 * @throws Error when a field is misaligned or the fields do not add up to `size`.
 */
export function struct<const F extends Fields>(name: string, size: number, fields: F): Struct<F> {
  const offset: Record<string, number> = {};
  let end = 0;
  for (const [key, { align, size: width }] of Object.entries(fields)) {
    assert(
      end % align === 0,
      `${name}.${key}: offset ${end} is not ${align}-byte aligned; add a reserved field`,
    );
    offset[key] = end;
    end += width;
  }
  assert(end === size, `${name}: the fields take ${end} bytes, declared ${size}`);
  const Window = cursorClass(fields, offset);
  return {
    name,
    size,
    fields,
    offset: offset as Struct<F>['offset'],
    bind: (view) => new Window(view) as unknown as Cursor<F>,
  };
}

function cursorClass(fields: Fields, offset: Readonly<Record<string, number>>) {
  class Window {
    base = 0;
    readonly view: DataView;
    constructor(view: DataView) {
      this.view = view;
    }
    at(base: number): this {
      this.base = base;
      return this;
    }
  }
  for (const [key, { kind, size }] of Object.entries(fields)) {
    const accessors = accessorsOf(kind, offset[key] ?? 0, size, key);
    Object.defineProperty(Window.prototype, key, { ...accessors, enumerable: true });
  }
  return Window;
}

interface Window {
  readonly base: number;
  readonly view: DataView;
}

/** How a number of each kind is read and written, and the largest one of the unsigned integers. */
const numbers = {
  u8: {
    max: 0xff,
    read: (view: DataView, at: number) => view.getUint8(at),
    write: (view: DataView, at: number, v: number) => view.setUint8(at, v),
  },
  u16: {
    max: 0xffff,
    read: (view: DataView, at: number) => view.getUint16(at, true),
    write: (view: DataView, at: number, v: number) => view.setUint16(at, v, true),
  },
  u32: {
    max: 0xffff_ffff,
    read: (view: DataView, at: number) => view.getUint32(at, true),
    write: (view: DataView, at: number, v: number) => view.setUint32(at, v, true),
  },
  u53: { max: Number.MAX_SAFE_INTEGER, read: readU53, write: writeU53 },
  f64: {
    max: undefined,
    read: (view: DataView, at: number) => view.getFloat64(at, true),
    write: (view: DataView, at: number, v: number) => view.setFloat64(at, v, true),
  },
} as const;

type Accessors = PropertyDescriptor & ThisType<Window>;

function accessorsOf(kind: Kind, at: number, size: number, key: string): Accessors {
  if (kind === 'bytes') return bytesAccessors(at, size, key);
  if (kind === 'u64') return bigintAccessors(at);
  const { max, read, write } = numbers[kind];
  return {
    get() {
      return read(this.view, this.base + at);
    },
    set(v: number) {
      // A silent wrap-around in shared memory is found much too late.
      const fits = max === undefined || (Number.isInteger(v) && v >= 0 && v <= max);
      if (!fits) throw new Error(`${key}: ${v} is not an integer from 0 to ${max}`);
      write(this.view, this.base + at, v);
    },
  };
}

const bigintAccessors = (at: number): Accessors => ({
  get() {
    return this.view.getBigUint64(this.base + at, true);
  },
  set(v: bigint) {
    this.view.setBigUint64(this.base + at, v, true);
  },
});

const bytesAccessors = (at: number, size: number, key: string): Accessors => ({
  get() {
    return bytesAt(this.view, this.base + at, size);
  },
  set(v: Uint8Array) {
    assert(v.length <= size, `${key}: ${v.length} bytes do not fit in ${size}`);
    const target = bytesAt(this.view, this.base + at, size);
    target.fill(0, v.length);
    target.set(v);
  },
});

const bytesAt = (view: DataView, at: number, length: number) =>
  new Uint8Array(view.buffer, view.byteOffset + at, length);

export function readU53(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
}

export function writeU53(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x1_0000_0000, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** A struct as its tables see it. */
export type AnyStruct = Pick<Struct<Fields>, 'name' | 'size' | 'fields' | 'offset'>;

/** The table of a struct for the documents. */
export function toMarkdown({ name, size, fields, offset }: AnyStruct): string {
  const rows = Object.entries(fields).map(
    ([key, { kind, size: width, doc }]) =>
      `| ${offset[key]} | ${key} | ${kind === 'bytes' ? `bytes[${width}]` : kind} | ${doc} |`,
  );
  return [
    `### ${name} (${size} bytes)`,
    '',
    '| offset | field | type | meaning |',
    '|--:|---|---|---|',
    ...rows,
  ].join('\n');
}

/**
 * A text that two builds share exactly when they agree on every name, type and place: what a layout hash is
 * made of.
 */
export const signature = (structs: readonly AnyStruct[]): string =>
  structs
    .map((s) =>
      [
        s.name,
        s.size,
        ...Object.entries(s.fields).map(([key, f]) => `${key}:${f.kind}${f.size}@${s.offset[key]}`),
      ].join(' '),
    )
    .join('\n');
