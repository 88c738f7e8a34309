/**
 * What a cache and the directory of a block say to each other. The names are those of the literature on
 * directory protocols (Sorin, Hill, Wood: A Primer on Memory Consistency and Cache Coherence, chapter 8).
 *
 * Between a cache and a directory messages arrive in the order in which they were sent, each once; see
 * channel.ts. Between different caches there is no order.
 *
 * Order: over a link a message is named by its place in its table, from 0. New ones go to the end.
 */

/** To the directory. */
export const toDirectory = {
  getShared: 'asks for the block, to read it',
  getExclusive: 'asks for the block, to store into it; has no copy',
  upgrade: 'asks to store into the copy that it has',
  invalidateAck: 'the copy is gone, and nobody can read it any more',
  yielded: 'the bytes, after `downgrade`: they are only read from here on',
  returned: 'the bytes, after `downgrade` or `recall`: the copy is gone',
  nothing: 'there is no copy: it was evicted before `downgrade` or `recall` came',
  evicted: 'the bytes, unasked: the copy is gone',
  writeBack: 'the bytes as they are now: stores go on',
} as const;
export type ToDirectory = keyof typeof toDirectory;

/** To a cache. */
export const toCache = {
  shared: 'the bytes, to read',
  exclusive: 'the bytes, to store into; nobody else has a copy',
  granted: 'the copy that is there may be stored into; nobody else has one',
  invalidate: 'give up the copy, which was only read',
  downgrade: 'store no more, and send the bytes; they may still be read',
  recall: 'give up the copy, and send the bytes',
  refused: 'there is no such block any more, or its home cannot read it',
  moved: 'another node is the home of the file by now',
} as const;
export type ToCache = keyof typeof toCache;

/** Those that carry the bytes of the block. */
export const carriesBytes: ReadonlySet<ToDirectory | ToCache> = new Set([
  'yielded',
  'returned',
  'evicted',
  'writeBack',
  'shared',
  'exclusive',
]);

/** The messages by their places. */
export const toDirectoryNames = Object.keys(toDirectory) as readonly ToDirectory[];
export const toCacheNames = Object.keys(toCache) as readonly ToCache[];

const placesOf = <N extends string>(names: readonly N[]) =>
  Object.fromEntries(names.map((name, place) => [name, place])) as Readonly<Record<N, number>>;
export const toDirectoryPlaces = placesOf(toDirectoryNames);
export const toCachePlaces = placesOf(toCacheNames);
