/**
 * System calls that Node cannot make: the typed face of the addon. Everything here is thin; policy is
 * elsewhere.
 */
export * from './native/copy.ts';
export * from './native/descriptor.ts';
export * from './native/file.ts';
export * from './native/futex.ts';
export * from './native/guard.ts';
export * from './native/mapping.ts';
export * from './native/poll.ts';
export * from './native/process.ts';
export * from './native/userfault.ts';
