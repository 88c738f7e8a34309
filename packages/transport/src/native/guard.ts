/** Naming the view when a process dies of a store into it. */
import { call, checked } from './binding.ts';

const full = -28; // ENOSPC
const none = -2; // ENOENT

/**
 * From here a SIGSEGV or SIGBUS inside the range writes one line with `label` and the offset to stderr,
 * before the process dies of it as it would have. 4096 ranges at a time; one more is not guarded.
 */
export const guardRange = (address: number, length: number, label: string): void => {
  const result = call('guardRange', address, length, label);
  if (result !== full) checked(result, 'sigaction');
};

export const unguardRange = (address: number): void => {
  const result = call('unguardRange', address);
  if (result !== none) checked(result, 'sigaction');
};
