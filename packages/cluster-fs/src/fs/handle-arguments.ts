/** The many forms of the arguments of FileHandle's read, readv, write and writev, brought into one each. */
import { invalidType, invalidValue, outOfRange } from './argument-errors.ts';
import { integerOf } from './arguments.ts';
import { bytesOf } from './content.ts';

export interface ReadArguments {
  /** What the caller gave, and gets back. */
  readonly buffer: ArrayBufferView;
  /** The bytes to fill. */
  readonly target: Buffer;
  /** Undefined: from where the handle stands. */
  readonly position: number | undefined;
}

interface Place {
  readonly buffer?: unknown;
  readonly offset?: unknown;
  readonly length?: unknown;
  readonly position?: unknown;
}

const defaultReadBytes = 16_384;

/** read(buffer, offset, length, position), read(buffer, options), read(options), read(). */
export function readArguments(
  first: unknown,
  second: unknown,
  third: unknown,
  fourth: unknown,
): ReadArguments {
  if (!ArrayBuffer.isView(first)) return readOptions(first);
  const place: Place =
    typeof second === 'object' && second !== null
      ? second
      : { offset: second, length: third, position: fourth };
  return readPlace(first, place);
}

function readOptions(options: unknown): ReadArguments {
  if (options !== undefined && (typeof options !== 'object' || Array.isArray(options))) {
    throw invalidType('options', 'of type object', options);
  }
  const place: Place = options ?? {};
  const buffer = place.buffer === undefined ? Buffer.alloc(defaultReadBytes) : place.buffer;
  if (!ArrayBuffer.isView(buffer)) {
    throw invalidType('buffer', 'an instance of Buffer, TypedArray, or DataView', buffer);
  }
  return readPlace(buffer, place);
}

function readPlace(buffer: ArrayBufferView, place: Place): ReadArguments {
  const offset = integerOf(place.offset ?? 0, 'offset', { min: 0 });
  const length = (place.length ?? buffer.byteLength - offset) as number;
  const position = positionOf(place.position);
  if (length === 0) return { buffer, target: Buffer.alloc(0), position };
  if (buffer.byteLength === 0) throw invalidValue('buffer', buffer, 'is empty and cannot be written');
  if (length < 0) throw outOfRange('length', '>= 0', length);
  if (offset + length > buffer.byteLength) {
    throw outOfRange('length', `<= ${buffer.byteLength - offset}`, length);
  }
  return { buffer, target: bytesOf(buffer).subarray(offset, offset + length), position };
}

/** Node takes what is no position for "where the handle stands", a negative number as well. */
function positionOf(position: unknown): number | undefined {
  const given = typeof position === 'bigint' ? Number(position) : position;
  return Number.isSafeInteger(given) && (given as number) >= 0 ? (given as number) : undefined;
}

export interface WriteArguments {
  /** The bytes to store. */
  readonly bytes: Buffer;
  /** Undefined: where the handle stands. */
  readonly position: number | undefined;
}

/** write(buffer, offset, length, position), write(buffer, options), write(text, position, encoding). */
export function writeArguments(
  data: unknown,
  second: unknown,
  third: unknown,
  fourth: unknown,
): WriteArguments {
  if (!ArrayBuffer.isView(data)) return writeText(data, second, third);
  const place: Place =
    typeof second === 'object' && second !== null
      ? second
      : { offset: second, length: third, position: fourth };
  const { byteLength } = data;
  if (byteLength === 0) return { bytes: bytesOf(data), position: undefined };
  const offset = integerOf(place.offset ?? 0, 'offset', { min: 0 });
  const length = typeof place.length === 'number' ? place.length : byteLength - offset;
  if (offset > byteLength) throw outOfRange('offset', `<= ${byteLength}`, offset);
  if (length > byteLength - offset) throw outOfRange('length', `<= ${byteLength - offset}`, length);
  if (length < 0) throw outOfRange('length', '>= 0', length);
  integerOf(length, 'length', { min: 0, max: 2 ** 31 - 1 });
  const { position } = place;
  const at = typeof position === 'number' ? positionOf(position) : undefined;
  return { bytes: bytesOf(data).subarray(offset, offset + length), position: at };
}

function writeText(text: unknown, position: unknown, encoding: unknown): WriteArguments {
  if (typeof text !== 'string') {
    throw invalidType('buffer', 'of type string or an instance of Buffer, TypedArray, or DataView', text);
  }
  if (typeof encoding === 'string' && encoding.toLowerCase() === 'hex' && text.length % 2 !== 0) {
    throw invalidValue('encoding', encoding, `is invalid for data of length ${text.length}`);
  }
  const known = typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : 'utf8';
  return {
    bytes: Buffer.from(text, known),
    position: typeof position === 'number' ? positionOf(position) : undefined,
  };
}

/** The buffers of readv and writev, and where they go. */
export function vectorArguments(
  buffers: unknown,
  position: unknown,
): { views: Buffer[]; position: number | undefined } {
  if (!Array.isArray(buffers) || !buffers.every((each) => ArrayBuffer.isView(each))) {
    throw invalidType('buffers', 'an ArrayBufferView[]', buffers);
  }
  return {
    views: buffers.map(bytesOf),
    position: typeof position === 'number' ? positionOf(position) : undefined,
  };
}
