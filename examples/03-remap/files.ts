/** What the programs of this example agree on. */
export const table = '/table.u32';
export const counters = '/counters.u32';

/** The number that belongs at an index of the table: any two differ, so that a page out of place shows. */
export const numberAt = (index: number): number => Math.imul(index, 0x9e3779b1) >>> 0;

/** What a program tells: first when it has mapped its file, and again when it is told to stop. */
export interface Report {
  readonly address: number;
  /** How often the pages under its array were swapped. */
  readonly remaps: number;
  /** How many numbers it checked, or how many increments it made. */
  readonly steps: number;
  /** Numbers that were not what they should be. */
  readonly wrong: number;
  /** The longest time that a few of those steps took. */
  readonly longestMs: number;
}
