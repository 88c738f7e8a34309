/**
 * What the methods of node:fs accept as arguments, and how they refuse the rest.
 *
 * A path may be a string, a Buffer of UTF-8 or a file: URL; a relative one counts from the root, there is no
 * working directory. Names that are no UTF-8 cannot be told apart: they are decoded as Buffer does.
 */
import { constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isDate } from 'node:util/types';
import { invalidType, invalidValue, outOfRange } from './argument-errors.ts';

/** The path as a string. Throws node's TypeErrors for anything else, and for a NUL byte. */
export function pathOf(path: unknown, name = 'path'): string {
  if (typeof path === 'string' && !path.includes('\0')) return path;
  return unusualPath(path, name);
}

function unusualPath(path: unknown, name: string): string {
  const plain = isUrl(path) ? fileURLToPath(path) : path;
  const bytes = plain instanceof Uint8Array;
  if (typeof plain !== 'string' && !bytes) {
    throw invalidType(name, 'of type string or an instance of Buffer or URL', plain);
  }
  if (bytes ? plain.includes(0) : plain.includes('\0')) {
    throw invalidValue(name, plain, 'must be a string, Uint8Array, or URL without null bytes');
  }
  return bytes ? Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength).toString() : plain;
}

function isUrl(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null) return false;
  const { href, protocol, auth, path } = value as Record<string, unknown>;
  return Boolean(href) && Boolean(protocol) && auth === undefined && path === undefined;
}

/** Permission bits as a number or an octal string. */
export function modeOf(mode: unknown, fallback?: number): number {
  const given = mode ?? fallback;
  if (typeof given !== 'string') return integerOf(given, 'mode', { min: 0, max: 2 ** 32 - 1 });
  if (!/^[0-7]+$/.test(given)) {
    throw invalidValue('mode', given, 'must be a 32-bit unsigned integer or an octal string');
  }
  return integerOf(Number.parseInt(given, 8), 'mode', { min: 0, max: 2 ** 32 - 1 });
}

const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } = constants;
const flagNames: Readonly<Record<string, number>> = {
  r: O_RDONLY,
  rs: O_RDONLY | O_SYNC,
  'r+': O_RDWR,
  'rs+': O_RDWR | O_SYNC,
  w: O_TRUNC | O_CREAT | O_WRONLY,
  wx: O_TRUNC | O_CREAT | O_WRONLY | O_EXCL,
  'w+': O_TRUNC | O_CREAT | O_RDWR,
  'wx+': O_TRUNC | O_CREAT | O_RDWR | O_EXCL,
  a: O_APPEND | O_CREAT | O_WRONLY,
  ax: O_APPEND | O_CREAT | O_WRONLY | O_EXCL,
  as: O_APPEND | O_CREAT | O_WRONLY | O_SYNC,
  'a+': O_APPEND | O_CREAT | O_RDWR,
  'ax+': O_APPEND | O_CREAT | O_RDWR | O_EXCL,
  'as+': O_APPEND | O_CREAT | O_RDWR | O_SYNC,
};
/** The second letter may come first. */
const swapped: Readonly<Record<string, string>> = {
  sr: 'rs',
  'sr+': 'rs+',
  xw: 'wx',
  'xw+': 'wx+',
  xa: 'ax',
  'xa+': 'ax+',
  sa: 'as',
  'sa+': 'as+',
};

/** Bits of open(2) for 'r', 'w+', 'ax' and so on, or the number that was given. */
export function flagsOf(flags: unknown): number {
  if (typeof flags === 'number') return integerOf(flags, 'flags', { min: -(2 ** 31), max: 2 ** 31 - 1 });
  if (flags === null || flags === undefined) return O_RDONLY;
  const name = typeof flags === 'string' ? (swapped[flags] ?? flags) : '';
  const bits = Object.hasOwn(flagNames, name) ? flagNames[name] : undefined;
  if (bits === undefined) throw invalidValue('flags', flags);
  return bits;
}

interface Range {
  readonly min?: number;
  readonly max?: number;
}

export function integerOf(value: unknown, name: string, range: Range = {}): number {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = range;
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value);
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value);
  if (value < min || value > max) throw outOfRange(name, `>= ${min} && <= ${max}`, value);
  return value;
}

/** A user or group; -1 leaves it as it is. */
export function ownerOf(id: unknown, name: 'uid' | 'gid'): number | undefined {
  const given = integerOf(id, name, { min: -1, max: 2 ** 32 - 1 });
  // chown(2) takes its ids as unsigned: the largest is -1 again.
  return given === -1 || given === 2 ** 32 - 1 ? undefined : given;
}

/**
 * Milliseconds since 1970 of a time in seconds, a number in a string, or a Date. A negative number means now.
 */
export function timeOf(time: unknown, name = 'time'): number {
  if (typeof time === 'string' && Number.isFinite(Number(time))) return milliseconds(Number(time));
  if (typeof time === 'number' && Number.isFinite(time)) return time < 0 ? Date.now() : milliseconds(time);
  if (isDate(time) && !Number.isNaN(time.getTime())) return time.getTime();
  throw invalidType(name, 'an instance of Date or an Time in seconds', time);
}

/** No further from 1970 than a Date can be. */
const milliseconds = (seconds: number): number => Math.max(-8.64e15, Math.min(8.64e15, seconds * 1000));

export function booleanOf(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(name, 'of type boolean', value);
  return value;
}

export interface Options {
  readonly encoding?: BufferEncoding | 'buffer' | null | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly [name: string]: unknown;
}

/**
 * Options as node reads them: nothing, the name of an encoding, or an object whose encoding and signal are
 * checked.
 */
export function optionsOf(options: unknown, defaults: Options = {}): Options {
  if (options === null || options === undefined || typeof options === 'function') return defaults;
  const given = typeof options === 'string' ? { ...defaults, encoding: options as BufferEncoding } : options;
  if (typeof given !== 'object') throw invalidType('options', 'one of type string or object', options);
  const { encoding, signal } = given as Options;
  if (encoding !== 'buffer') assertEncoding(encoding);
  if (signal !== undefined) assertSignal(signal, 'options.signal');
  return given as Options;
}

function assertEncoding(encoding: unknown): void {
  if (encoding && !Buffer.isEncoding(encoding as string)) {
    throw invalidValue('encoding', encoding, 'is invalid encoding');
  }
}

function assertSignal(signal: unknown, name: string): void {
  if (typeof signal !== 'object' || signal === null || !('aborted' in signal)) {
    throw invalidType(name, 'an instance of AbortSignal', signal);
  }
}

/** An options object that is one, or nothing. */
export function objectOf(value: unknown, name = 'options'): Readonly<Record<string, unknown>> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidType(name, 'of type object', value);
  }
  return value as Record<string, unknown>;
}

/** A name or path in the encoding that was asked for; UTF-8 text without one. */
export function encoded(text: string, encoding: Options['encoding']): string | Buffer {
  if (encoding === undefined || encoding === null || encoding === 'utf8' || encoding === 'utf-8') return text;
  return encoding === 'buffer' ? Buffer.from(text) : Buffer.from(text).toString(encoding);
}
