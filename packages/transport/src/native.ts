/**
 * System calls that Node cannot make: the typed face of the addon. Everything here is thin; policy is
 * elsewhere.
 *
 * A call that fails throws an FsError with the errno's code and the name of the system call; an argument of
 * the wrong type or range is a TypeError that names it, and nothing was done.
 */
export * from './native/array-buffer.ts';
export * from './native/copy.ts';
export * from './native/descriptor.ts';
export * from './native/file.ts';
export * from './native/futex.ts';
export * from './native/guard.ts';
export * from './native/mapping.ts';
export * from './native/pages.ts';
export * from './native/poll.ts';
export * from './native/spin.ts';
export * from './native/userfault.ts';
