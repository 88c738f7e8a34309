/** node's SystemError, which rm and cp throw for mistakes that they find themselves. */
import { constants } from 'node:os';

/** Codes and their first words, from lib/internal/errors.js. */
const headings = {
  ERR_FS_EISDIR: 'Path is a directory',
  ERR_FS_CP_DIR_TO_NON_DIR: 'Cannot overwrite non-directory with directory',
  ERR_FS_CP_EEXIST: 'Target already exists',
  ERR_FS_CP_EINVAL: 'Invalid src or dest',
  ERR_FS_CP_NON_DIR_TO_DIR: 'Cannot overwrite directory with non-directory',
  ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY: 'Cannot overwrite symlink in subdirectory of self',
} as const;

interface Info {
  readonly code: 'EISDIR' | 'EEXIST' | 'EINVAL' | 'ENOTDIR';
  readonly message: string;
  readonly path: string;
  readonly syscall: string;
}

/** `code` is the key; what went wrong in terms of errno is in `info`. */
export function systemError(code: keyof typeof headings, info: Info): NodeJS.ErrnoException {
  const { message, path, syscall } = info;
  const errno = constants.errno[info.code];
  const text = `${headings[code]}: ${syscall} returned ${info.code} (${message}) ${path}`;
  const error: NodeJS.ErrnoException = new Error(text);
  Object.defineProperty(error, 'name', { value: 'SystemError', writable: true, configurable: true });
  return Object.assign(error, { code, info: { ...info, errno }, errno, syscall, path });
}
