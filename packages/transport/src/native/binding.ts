/**
 * Loads the addon, says what is in it, and turns its `-errno` results into errors. The only place that sees
 * the addon itself. Its functions check their arguments: a wrong one is a TypeError that names it.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { codeOfErrno, FsError } from '../errors.ts';

/** A result of at least 0, or -errno. */
type Result = number;

/** One for each function of native/*.cc except v8_buffer.cc; the order of arguments is theirs. */
export interface Addon {
  reserve(length: number): Result;
  mapFile(
    fd: number,
    offset: number,
    length: number,
    protection: number,
    populate: boolean,
    fixed: boolean,
    address: number,
  ): Result;
  mapAnonymous(address: number, length: number, protection: number): Result;
  moveMapping(from: number, to: number, length: number): Result;
  protectMapping(address: number, length: number, protection: number): Result;
  adviseMapping(address: number, length: number, advice: number): Result;
  syncMapping(address: number, length: number): Result;
  unmap(address: number, length: number): Result;
  pageSize(): number;

  arrayBufferAt(address: number, length: number): ArrayBuffer | Result;
  sharedArrayBufferAt(address: number, length: number): SharedArrayBuffer | Result;
  detachArrayBuffer(buffer: ArrayBuffer): Result;
  addressOf(view: ArrayBufferView): number;

  createMemfd(name: string, sizeBytes: number): Result;
  sealFutureWrites(fd: number): Result;
  allocateRange(fd: number, offset: number, length: number): Result;
  punchHole(fd: number, offset: number, length: number): Result;
  seekData(fd: number, offset: number): Result;
  seekHole(fd: number, offset: number): Result;
  fileSystemStats(fd: number, into: Float64Array): Result;
  lockFile(fd: number): Result;
  duplicate(fd: number): Result;

  listenUnix(path: string, backlog: number, mode: number): Result;
  connectUnix(path: string): Result;
  acceptUnix(fd: number): Result;
  sendMessage(
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    descriptors: readonly number[],
  ): Result;
  sendParts(fd: number, parts: readonly Uint8Array[]): Result;
  receiveMessage(fd: number, into: Uint8Array, descriptors: number[]): Result;
  peerCredentials(fd: number, into: Float64Array): Result;
  peerGroups(fd: number, into: Float64Array): Result;
  unreadBytes(fd: number): Result;
  closeDescriptor(fd: number): Result;
  shutdownSocket(fd: number): Result;

  pollDescriptor(fd: number, callback: (bits: number) => void): object | Result;
  watchPoll(handle: object, bits: number): Result;
  closePoll(handle: object): Result;
  refPoll(handle: object, on: boolean): Result;

  createSpin(): object | Result;
  spinOnce(handle: object, microseconds: number): Result;
  closeSpin(handle: object): Result;

  createUserfault(way: number, remapEvents: boolean, features: Float64Array): Result;
  registerUserfault(
    fd: number,
    address: number,
    length: number,
    missing: boolean,
    writeProtect: boolean,
    minor: boolean,
  ): Result;
  unregisterUserfault(fd: number, address: number, length: number): Result;
  wakeUserfault(fd: number, address: number, length: number): Result;
  writeProtectUserfault(fd: number, address: number, length: number, on: boolean): Result;
  copyUserfault(
    fd: number,
    address: number,
    source: number,
    length: number,
    writeProtect: boolean,
    wake: boolean,
  ): Result;
  continueUserfault(fd: number, address: number, length: number): Result;
  zeroUserfault(fd: number, address: number, length: number): Result;
  poisonUserfault(fd: number, address: number, length: number): Result;
  readUserfaultEvents(fd: number, rows: Float64Array): Result;

  wakeFutex(address: number, count: number): Result;
  waitFutex(address: number, expected: number, timeoutMs: number): Result;
  waitFutexAny(waits: Float64Array, timeoutMs: number): Result;

  copyInFile(fd: number, from: number, to: number, length: number): Promise<Result>;
  copyInFileSync(fd: number, from: number, to: number, length: number): Result;

  sumPages(bytes: Uint8Array, sums: BigUint64Array, count: number): Result;
  readPages(
    fd: number,
    places: Float64Array,
    bytes: Uint8Array,
    sums: BigUint64Array,
    count: number,
  ): Promise<Result>;
  readPagesNow(
    fd: number,
    places: Float64Array,
    bytes: Uint8Array,
    sums: BigUint64Array,
    count: number,
    mayWait: boolean,
  ): Result;

  guardRange(address: number, length: number, label: string): Result;
  unguardRange(address: number): Result;
  pauseGuarded(address: number, on: boolean): Result;
}

/** native/v8_buffer.cc. */
export interface V8Buffer {
  arrayBufferAt(address: number, length: number, keyed: boolean): ArrayBuffer;
  detachArrayBuffer(buffer: ArrayBuffer, keyed: boolean): boolean;
  sharedArrayBufferAt(address: number, length: number): SharedArrayBuffer;
}

const require = createRequire(import.meta.url);
const load = (name: string): unknown =>
  require(fileURLToPath(new URL(`../../build/Release/${name}.node`, import.meta.url)));

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND';

/** It does not load either when another Node built it: the binary holds for one ABI. */
const isUnfit = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ERR_DLOPEN_FAILED';

function loadAddon(): Addon {
  try {
    return load('cluster_fs') as Addon;
  } catch (error) {
    if (!isMissing(error)) throw error;
    const why = 'the addon of @cluster-fs/transport is not built';
    throw new Error(`${why}: run \`node scripts/build-addon.mjs\` in its folder`, { cause: error });
  }
}

function loadV8Buffer(): V8Buffer | undefined {
  try {
    const loaded = load('v8_buffer') as Partial<V8Buffer>;
    // It has no functions where V8 is built with a memory cage.
    return loaded.arrayBufferAt === undefined ? undefined : (loaded as V8Buffer);
  } catch (error) {
    if (isMissing(error) || isUnfit(error)) return undefined;
    throw error;
  }
}

export const addon = loadAddon();
export const v8Buffer = loadV8Buffer();

/** The result, or an error with the errno's name when it is negative. */
export function checked(result: Result, syscall: string, path?: string): number {
  if (result < 0) throw new FsError(codeOfErrno(-result), syscall, { path });
  return result;
}

const wouldBlock = -11; // EAGAIN

/** As `checked`, with undefined for EAGAIN: the call would have to wait. */
export function unlessBusy(result: Result, syscall: string): number | undefined {
  return result === wouldBlock ? undefined : checked(result, syscall);
}

/** The position of a word in the addon's table of the same order. */
export function positionOf<T extends string>(words: readonly T[], word: T, name: string): number {
  const position = words.indexOf(word);
  if (position < 0) throw new TypeError(`${name} must be one of ${words.join(', ')}`);
  return position;
}
