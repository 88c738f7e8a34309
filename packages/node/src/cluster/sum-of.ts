/** What two parts of a node count, together. */
interface Counted {
  readonly lostBlocks: number;
  readonly stags: number;
}

export const sumOf = <A extends Counted, B extends Counted>(a: A, b: B): A & B => ({
  ...a,
  ...b,
  lostBlocks: a.lostBlocks + b.lostBlocks,
  stags: a.stags + b.stags,
});
