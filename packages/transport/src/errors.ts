/** Errors in Node's shape: POSIX codes are the vocabulary from the system call to the wire to the caller. */
import { getSystemErrorMap } from 'node:util';

const byErrno = getSystemErrorMap();
const byCode = new Map<string, { readonly errno: number; readonly description: string }>();
for (const [errno, [code, description]] of byErrno) byCode.set(code, { errno, description });

/**
 * Codes that libuv has no name for, with Linux's numbers.
 * The rest of the vocabulary, one meaning each: ESTALE (inode generation, view or epoch is old), EAGAIN
 * (trying again is right), ETIMEDOUT (a peer is silent), EROFS (no right to write), ENOSPC, EIO (damage),
 * EPROTO (a peer broke the protocol), ENOTSUP (not built; documented), EBUSY (somebody holds it: the message
 * says who).
 */
const extra = [
  ['ESTALE', -116, 'stale file handle'],
  ['EDQUOT', -122, 'quota exceeded'],
  ['ENOTCONN', -107, 'socket is not connected'],
] as const;
for (const [code, errno, description] of extra) {
  if (!byCode.has(code)) byCode.set(code, { errno, description });
}

export type ErrorCode =
  | 'E2BIG'
  | 'EACCES'
  | 'EADDRINUSE'
  | 'EAGAIN'
  | 'EBADF'
  | 'EBUSY'
  | 'ECANCELED'
  | 'ECONNREFUSED'
  | 'ECONNRESET'
  | 'EDQUOT'
  | 'EEXIST'
  | 'EFAULT'
  | 'EFBIG'
  | 'EINTR'
  | 'EINVAL'
  | 'EIO'
  | 'EISDIR'
  | 'ELOOP'
  | 'EMFILE'
  | 'EMLINK'
  | 'EMSGSIZE'
  | 'ENAMETOOLONG'
  | 'ENFILE'
  | 'ENODEV'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'ENOSYS'
  | 'ENOTCONN'
  | 'ENOTDIR'
  | 'ENOTEMPTY'
  | 'ENOTSUP'
  | 'ENXIO'
  | 'EOVERFLOW'
  | 'EPERM'
  | 'EPIPE'
  | 'EPROTO'
  | 'EPROTONOSUPPORT'
  | 'ERANGE'
  | 'EROFS'
  | 'ESPIPE'
  | 'ESRCH'
  | 'ESTALE'
  | 'ETIMEDOUT'
  | 'EXDEV';

export interface ErrorDetail {
  readonly path?: string | undefined;
  readonly dest?: string | undefined;
  /** What a person needs to know beyond the code. */
  readonly why?: string | undefined;
  readonly cause?: unknown;
}

/** A failed operation. Callers match on `code`; the message reads as node:fs writes it. */
export class FsError extends Error {
  readonly code: ErrorCode;
  /** Negative, as Node has it. */
  readonly errno: number;
  readonly syscall: string;
  declare readonly path: string | undefined;
  declare readonly dest: string | undefined;
  declare readonly why: string | undefined;

  constructor(code: ErrorCode, syscall: string, { path, dest, why, cause }: ErrorDetail = {}) {
    const known = byCode.get(code);
    const place = path === undefined ? '' : ` '${path}'`;
    const target = dest === undefined ? '' : ` -> '${dest}'`;
    const reason = why === undefined ? '' : ` (${why})`;
    super(
      `${code}: ${known?.description ?? 'unknown error'}, ${syscall}${place}${target}${reason}`,
      cause === undefined ? {} : { cause },
    );
    this.name = 'Error';
    this.code = code;
    this.errno = known?.errno ?? -1;
    this.syscall = syscall;
    // Absent and not undefined where there is none, as in Node: deepEqual and JSON see the difference.
    if (path !== undefined) this.path = path;
    if (dest !== undefined) this.dest = dest;
    if (why !== undefined) this.why = why;
  }
}

/** The code of a positive errno, as libuv names it. */
export function codeOfErrno(errno: number): ErrorCode {
  const known = byErrno.get(-errno)?.[0];
  if (known !== undefined && !known.startsWith('Unknown')) return known as ErrorCode;
  return (extra.find(([, n]) => n === -errno)?.[0] ?? 'EIO') as ErrorCode;
}

/**
 * States what must hold. It is for bugs, never for input, and stays on in production: better to stop than go
 * on.
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

/** Ends a switch over a union: a case that was forgotten does not compile. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
