/** The litmus tests of memory models: what threads do, and what no order of all their accesses gives. */

/** Where a thread runs: at the home of the files, or at one of two nodes that joined it. */
export type Place = 'home' | 'member' | 'other';
export type Read = readonly number[];
export interface Litmus {
  /** What each thread does, on which node. */
  readonly threads: readonly (readonly [role: string, node: Place])[];
  /** How long each thread lets the others go ahead; default: not at all. */
  readonly lagsMs?: readonly number[];
  /** What the threads read in one round, in their order, that no order of all accesses gives. */
  isForbidden(...read: readonly Read[]): boolean;
}

export const messagePassing = (writer: Place, reader: Place): Litmus => ({
  threads: [
    ['store x, store y', writer],
    ['load y, load x', reader],
  ],
  isForbidden: (_, [y, x]) => y === 1 && x === 0,
});

export const storeBuffering = (first: Place, second: Place): Litmus => ({
  threads: [
    ['store x, load y', first],
    ['store y, load x', second],
  ],
  isForbidden: ([y], [x]) => y === 0 && x === 0,
});

export const loadBuffering = (first: Place, second: Place): Litmus => ({
  threads: [
    ['load x, store y', first],
    ['load y, store x', second],
  ],
  isForbidden: ([x], [y]) => x === 1 && y === 1,
});

/** Two see two stores, and not in one order. */
export const independentReads = (
  writers: readonly [Place, Place],
  readers: readonly [Place, Place],
): Litmus => ({
  threads: [
    ['store x', writers[0]],
    ['store y', writers[1]],
    ['load x, load y', readers[0]],
    ['load y, load x', readers[1]],
  ],
  isForbidden: (_, __, [x1, y1], [y2, x2]) => x1 === 1 && y1 === 0 && y2 === 1 && x2 === 0,
});

/** What one has seen and answered, a third one sees too. */
export const writeToRead = (writer: Place, between: Place, reader: Place): Litmus => ({
  threads: [
    ['store x', writer],
    ['load x, store y', between],
    ['load y, load x', reader],
  ],
  isForbidden: (_, [seen], [y, x]) => seen === 1 && y === 1 && x === 0,
});

/** Nobody sees one location go back, also while somebody stores beside it. */
export const oneLocation = (writer: Place, neighbour: Place, readers: readonly Place[]): Litmus => ({
  threads: [
    ['store x twice', writer],
    ['store y', neighbour],
    ...readers.map((reader): [string, Place] => ['load x twice', reader]),
  ],
  isForbidden: (_, __, ...read) => read.some(([first = 0, second = 0]) => second < first),
});

/** All see the stores of two into one location in one order. */
export const oneOrder = (writers: readonly [Place, Place], readers: readonly [Place, Place]): Litmus => ({
  threads: [
    ['store x', writers[0]],
    ['store 2 to x', writers[1]],
    ['load x twice', readers[0]],
    ['load x twice', readers[1]],
  ],
  isForbidden: (_, __, ...read) => {
    const seen = new Set(read.map(String));
    const backwards = ['1,0', '2,0'].some((values) => seen.has(values));
    return backwards || (seen.has('1,2') && seen.has('2,1'));
  },
});

export const onTwoNodes: Readonly<Record<string, Litmus>> = {
  'message passing, home to member': messagePassing('home', 'member'),
  'message passing, member to home': messagePassing('member', 'home'),
  'store buffering': storeBuffering('home', 'member'),
  'load buffering': loadBuffering('home', 'member'),
  'independent reads of independent writes': independentReads(['home', 'member'], ['home', 'member']),
  'coherence of one location': oneLocation('member', 'home', ['home', 'member']),
};

export const onThreeNodes: Readonly<Record<string, Litmus>> = {
  'message passing, member to member': messagePassing('member', 'other'),
  'store buffering, member and member': storeBuffering('member', 'other'),
  'load buffering, member and member': loadBuffering('member', 'other'),
  'independent reads of independent writes': independentReads(['home', 'member'], ['member', 'other']),
  'write to read causality': writeToRead('home', 'member', 'other'),
  'coherence of one location': oneLocation('home', 'member', ['member', 'other']),
  'one order of stores of two': oneOrder(['home', 'member'], ['member', 'other']),
};
