/** Files: what node:fs lacks. Offsets and lengths are bytes. EBADF for a descriptor that is not open. */
import { addon, checked } from './binding.ts';

/**
 * memfd_create(2) with MFD_CLOEXEC | MFD_ALLOW_SEALING, and ftruncate(2): a file in memory of `sizeBytes`,
 * with no name anywhere; `name`, of at most 249 bytes, only shows in /proc. It takes memory as it is written.
 * EMFILE, EINVAL for a longer name.
 */
export const createMemfd = (name: string, sizeBytes: number): number =>
  checked(addon.createMemfd(name, sizeBytes), 'memfd_create');

/**
 * fcntl(2), F_ADD_SEALS: F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_SEAL. Writable mappings
 * that exist stay, and none can be made. EPERM when sealed already, EINVAL for a file that is no memfd.
 */
export const sealFutureWrites = (fd: number): void => {
  checked(addon.sealFutureWrites(fd), 'fcntl');
};

/**
 * fallocate(2), FALLOC_FL_KEEP_SIZE: takes memory for a range now, so that a full file system is ENOSPC here
 * and not SIGBUS at a touch. All or nothing; signals wait until it is done.
 */
export const allocateRange = (fd: number, offset: number, length: number): void => {
  checked(addon.allocateRange(fd, offset, length), 'fallocate');
};

/**
 * fallocate(2), FALLOC_FL_PUNCH_HOLE: gives the pages back; they vanish from every process that maps them,
 * and read as zeros. Parts of pages at either end are filled with zeros instead.
 */
export const punchHole = (fd: number, offset: number, length: number): void => {
  checked(addon.punchHole(fd, offset, length), 'fallocate');
};

const noMore = -6; // ENXIO

const position = (result: number): number | undefined =>
  result === noMore ? undefined : checked(result, 'lseek');

/**
 * lseek(2), SEEK_DATA: where the next data is, at or behind `offset`; undefined when there is none. Moves the
 * file position.
 */
export const seekData = (fd: number, offset: number): number | undefined =>
  position(addon.seekData(fd, offset));

/**
 * lseek(2), SEEK_HOLE: where the next hole is, at or behind `offset`; the end of the file counts as one.
 * Undefined behind it. Moves the file position.
 */
export const seekHole = (fd: number, offset: number): number | undefined =>
  position(addon.seekHole(fd, offset));

export interface FileSystemStats {
  /** 'tmpfs', or the magic number in hexadecimal. */
  readonly type: string;
  /** Bytes of a block. */
  readonly blockSize: number;
  /** All blocks; 0 for a tmpfs without a size limit. */
  readonly blocks: number;
  readonly free: number;
  /** Free for users without privilege. */
  readonly available: number;
}

const tmpfsMagic = 0x0102_1994;

/** fstatfs(2). */
export function fileSystemStats(fd: number): FileSystemStats {
  const values = new Float64Array(5);
  checked(addon.fileSystemStats(fd, values), 'fstatfs');
  const [magic = 0, blockSize = 0, blocks = 0, free = 0, available = 0] = values;
  const type = magic === tmpfsMagic ? 'tmpfs' : `0x${magic.toString(16)}`;
  return { type, blockSize, blocks, free, available };
}

const held = -11; // EWOULDBLOCK

/**
 * flock(2), LOCK_EX | LOCK_NB: false when another open file has it. The lock ends when the last duplicate of
 * the descriptor is closed, so with the process.
 */
export function lockFile(fd: number): boolean {
  const result = addon.lockFile(fd);
  if (result === held) return false;
  checked(result, 'flock');
  return true;
}

/** fcntl(2), F_DUPFD_CLOEXEC: another descriptor of the same open file. EMFILE. */
export const duplicate = (fd: number): number => checked(addon.duplicate(fd), 'fcntl');
