/** Errors in Node's shape: POSIX codes are the vocabulary from the system call to the wire to the caller. */
import { getSystemErrorMap } from 'node:util';

/** Codes that libuv has no name for, on some Node at least, with Linux's numbers (errno-base.h, errno.h). */
const linuxOnly = {
  EBADMSG: [-74, 'bad message'],
  EDEADLK: [-35, 'resource deadlock avoided'],
  EDQUOT: [-122, 'disk quota exceeded'],
  EINPROGRESS: [-115, 'operation now in progress'],
  ENOEXEC: [-8, 'exec format error'],
  ENOLCK: [-37, 'no locks available'],
  ESTALE: [-116, 'stale file handle'],
} as const;

/** Codes that libuv has names for. */
type LibuvCode =
  | 'E2BIG'
  | 'EACCES'
  | 'EADDRINUSE'
  | 'EADDRNOTAVAIL'
  | 'EAFNOSUPPORT'
  | 'EAGAIN'
  | 'EALREADY'
  | 'EBADF'
  | 'EBUSY'
  | 'ECANCELED'
  | 'ECONNABORTED'
  | 'ECONNREFUSED'
  | 'ECONNRESET'
  | 'EDESTADDRREQ'
  | 'EEXIST'
  | 'EFAULT'
  | 'EFBIG'
  | 'EHOSTDOWN'
  | 'EHOSTUNREACH'
  | 'EILSEQ'
  | 'EINTR'
  | 'EINVAL'
  | 'EIO'
  | 'EISCONN'
  | 'EISDIR'
  | 'ELOOP'
  | 'EMFILE'
  | 'EMLINK'
  | 'EMSGSIZE'
  | 'ENAMETOOLONG'
  | 'ENETDOWN'
  | 'ENETUNREACH'
  | 'ENFILE'
  | 'ENOBUFS'
  | 'ENODATA'
  | 'ENODEV'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENONET'
  | 'ENOPROTOOPT'
  | 'ENOSPC'
  | 'ENOSYS'
  | 'ENOTCONN'
  | 'ENOTDIR'
  | 'ENOTEMPTY'
  | 'ENOTSOCK'
  | 'ENOTSUP'
  | 'ENOTTY'
  | 'ENXIO'
  | 'EOVERFLOW'
  | 'EPERM'
  | 'EPIPE'
  | 'EPROTO'
  | 'EPROTONOSUPPORT'
  | 'EPROTOTYPE'
  | 'ERANGE'
  | 'EREMOTEIO'
  | 'EROFS'
  | 'ESHUTDOWN'
  | 'ESOCKTNOSUPPORT'
  | 'ESPIPE'
  | 'ESRCH'
  | 'ETIMEDOUT'
  | 'ETXTBSY'
  | 'EUNATCH'
  | 'EXDEV'
  | 'UNKNOWN';

/**
 * What may have failed. The codes that are ours to give have one meaning each: ESTALE (inode generation, view
 * or epoch is old), EAGAIN (trying again is right), ETIMEDOUT (a peer is silent), EROFS (no right to write),
 * ENOSPC, EIO (damage), EPROTO (a peer broke the protocol), ENOTSUP (not built; documented), EBUSY (somebody
 * holds it: the message says who).
 */
export type ErrorCode = LibuvCode | keyof typeof linuxOnly;

const byErrno = new Map<number, readonly [code: string, description: string]>();
const byCode = new Map<string, readonly [errno: number, description: string]>();

function learn(errno: number, code: string, description: string): void {
  byErrno.set(errno, [code, description]);
  byCode.set(code, [errno, description]);
}

for (const [code, [errno, description]] of Object.entries(linuxOnly)) learn(errno, code, description);
// Order: libuv's last, so that a message reads as node:fs writes it.
for (const [errno, [code, description]] of getSystemErrorMap()) learn(errno, code, description);

export interface ErrorDetail {
  readonly path?: string | undefined;
  readonly dest?: string | undefined;
  /** What a person needs to know beyond the code. */
  readonly why?: string | undefined;
  readonly cause?: unknown;
}

/** A failed operation. Callers match on `code`; the message reads as node:fs writes it. */
export class FsError extends Error {
  /** Negative, as Node has it. */
  readonly errno: number;
  readonly code: ErrorCode;
  readonly syscall: string;
  declare readonly path: string | undefined;
  declare readonly dest: string | undefined;
  declare readonly why: string | undefined;

  constructor(code: ErrorCode, syscall: string, { path, dest, why, cause }: ErrorDetail = {}) {
    const [errno, description] = byCode.get(code) ?? [-1, 'unknown error'];
    const place = path === undefined ? '' : ` '${path}'`;
    const target = dest === undefined ? '' : ` -> '${dest}'`;
    const reason = why === undefined ? '' : ` (${why})`;
    super(
      `${code}: ${description}, ${syscall}${place}${target}${reason}`,
      cause === undefined ? {} : { cause },
    );
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
    // Absent and not undefined where there is none, as in Node: deepEqual and JSON see the difference.
    if (path !== undefined) this.path = path;
    if (dest !== undefined) this.dest = dest;
    if (why !== undefined) this.why = why;
  }
}

/** The code of an errno, of either sign, as libuv names it; 'UNKNOWN' for one that nobody names. */
export function codeOfErrno(errno: number): ErrorCode {
  const [code] = byErrno.get(-Math.abs(errno)) ?? ['UNKNOWN'];
  return code as ErrorCode;
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
