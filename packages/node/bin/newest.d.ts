/** What the compiler writes at the end of each package. */
export const stamps: readonly URL[];

/** Whether the bundle at a path was made after each of the files that the compiler writes at its end. */
export function isNewest(bundle: string | URL, compiled?: readonly (string | URL)[]): boolean;
