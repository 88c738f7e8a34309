/** Naming the view when a process dies of a touch: sigaction(2), SIGSEGV and SIGBUS. */
import { addon, checked } from './binding.ts';

const full = -28; // ENOSPC
const none = -2; // ENOENT

/**
 * From here a SIGSEGV or SIGBUS inside the range writes one line with `label` (its first 199 bytes) and the
 * offset to stderr, and then the process dies of it as it would have. Faults elsewhere go where they went
 * before. 4096 ranges at a time, in the whole process; one more is not guarded.
 */
export const guardRange = (address: number, length: number, label: string): void => {
  const result = addon.guardRange(address, length, label);
  if (result !== full) checked(result, 'sigaction');
};

/** Ends what `guardRange` began at `address`; nothing when it is not guarded. */
export const unguardRange = (address: number): void => {
  const result = addon.unguardRange(address);
  if (result !== none) checked(result, 'sigaction');
};
