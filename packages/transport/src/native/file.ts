/** Files: what node:fs lacks. Offsets and lengths are bytes. */
import { call, checked } from './binding.ts';

/**
 * memfd_create(2) with MFD_CLOEXEC | MFD_ALLOW_SEALING: a file in memory of `sizeBytes`, with no name
 * anywhere.
 */
export const createMemfd = (name: string, sizeBytes: number): number =>
  checked(call('createMemfd', name, sizeBytes), 'memfd_create');

/**
 * fcntl(2) F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK, F_SEAL_GROW: writable mappings that exist stay, and none can
 * be made.
 */
export const sealFutureWrites = (fd: number): void => {
  checked(call('sealFutureWrites', fd), 'fcntl');
};

/**
 * fallocate(2): takes memory for a range now, so that a full file system is ENOSPC here and not SIGBUS at a
 * touch.
 */
export const allocateRange = (fd: number, offset: number, length: number): void => {
  checked(call('allocateRange', fd, offset, length), 'fallocate');
};

/**
 * fallocate(2), FALLOC_FL_PUNCH_HOLE: gives the pages back; they vanish from every process that maps them.
 */
export const punchHole = (fd: number, offset: number, length: number): void => {
  checked(call('punchHole', fd, offset, length), 'fallocate');
};

const noMore = -6; // ENXIO

/**
 * lseek(2), SEEK_DATA: where the next data is at or behind `offset`; undefined when there is none. Moves the
 * file position.
 */
export const seekData = (fd: number, offset: number): number | undefined => seek('seekData', fd, offset);
/** lseek(2), SEEK_HOLE. */
export const seekHole = (fd: number, offset: number): number | undefined => seek('seekHole', fd, offset);

function seek(name: string, fd: number, offset: number): number | undefined {
  const result = call(name, fd, offset);
  return result === noMore ? undefined : checked(result, 'lseek');
}

export interface FileSystemStats {
  /** 'tmpfs', or the magic number in hexadecimal. */
  readonly type: string;
  readonly blockSize: number;
  readonly blocks: number;
  readonly free: number;
  readonly available: number;
}

const tmpfsMagic = 0x0102_1994;

/** fstatfs(2). A tmpfs without a size limit has 0 blocks. */
export function fileSystemStats(fd: number): FileSystemStats {
  const values = new Float64Array(5);
  checked(call('fileSystemStats', fd, new Uint8Array(values.buffer)), 'fstatfs');
  const [magic = 0, blockSize = 0, blocks = 0, free = 0, available = 0] = values;
  return {
    type: magic === tmpfsMagic ? 'tmpfs' : `0x${magic.toString(16)}`,
    blockSize,
    blocks,
    free,
    available,
  };
}

const held = -11; // EWOULDBLOCK

/**
 * flock(2), LOCK_EX | LOCK_NB: false when another open file has it. The lock ends with the descriptor, so
 * with the process.
 */
export function lockFile(fd: number): boolean {
  const result = call('lockFile', fd);
  if (result === held) return false;
  checked(result, 'flock');
  return true;
}

/** fcntl(2), F_DUPFD_CLOEXEC. */
export const duplicate = (fd: number): number => checked(call('duplicate', fd), 'fcntl');
