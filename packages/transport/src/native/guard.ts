/** Naming the view when a process dies of a touch: sigaction(2), SIGSEGV and SIGBUS. */
import { addon, checked } from './binding.ts';
import { type Protection, protectMapping } from './mapping.ts';

const none = -2; // ENOENT

/**
 * From here a SIGSEGV or SIGBUS inside the range writes one line with `label` (its first 199 bytes) and the
 * offset to stderr, and then the process dies of it as it would have. Faults elsewhere go where they went
 * before. ENOMEM.
 */
export const guardRange = (address: number, length: number, label: string): void => {
  checked(addon.guardRange(address, length, label), 'sigaction');
};

/** Ends what `guardRange` began at `address`; nothing when it is not guarded. */
export const unguardRange = (address: number): void => {
  const result = addon.unguardRange(address);
  if (result !== none) checked(result, 'sigaction');
};

/**
 * From here on whoever touches the range waits, in the signal handler, until `resumeGuarded`: its memory is
 * PROT_NONE, and otherwise as it is, with its registrations. A system call that is given an address there
 * fails with EFAULT. False when the range is not guarded: then nothing is done, and nobody waits.
 */
export function pauseGuarded(address: number, length: number): boolean {
  if (!setPaused(address, true)) return false;
  // Order: a fault finds what it is to do.
  protectMapping(address, length, 'none');
  return true;
}

/** Touches go on, with that protection. */
export function resumeGuarded(address: number, length: number, protection: Protection): void {
  // Order: who stops waiting finds its memory.
  protectMapping(address, length, protection);
  setPaused(address, false);
}

function setPaused(address: number, on: boolean): boolean {
  const result = addon.pauseGuarded(address, on);
  if (result === none) return false;
  checked(result, 'sigaction');
  return true;
}
