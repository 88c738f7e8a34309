/**
 * What becomes of a view when something is done to its file: every operation, for every kind of view. The
 * tests beside it run each cell; docs/leases.md prints the table.
 */
export interface Kind {
  readonly client: 'on-demand' | 'pinned';
  readonly follow: 'live' | 'manual';
  readonly mode: 'r' | 'rw';
}

const of = (client: Kind['client'], follow: Kind['follow'], mode: Kind['mode']): Kind => ({
  client,
  follow,
  mode,
});

export const kinds: readonly Kind[] = [
  of('on-demand', 'live', 'r'),
  of('on-demand', 'live', 'rw'),
  of('on-demand', 'manual', 'r'),
  of('on-demand', 'manual', 'rw'),
  of('pinned', 'live', 'r'),
  of('pinned', 'live', 'rw'),
  of('pinned', 'manual', 'r'),
  of('pinned', 'manual', 'rw'),
];

/** What each word means. */
export const outcomes = {
  'at once': 'the view has the new bytes when the operation is answered; who touches a page just then waits',
  swapped:
    'the session worker of the client swaps the pages a moment later; until then the view has the old ' +
    'bytes, and their pages wait for it',
  'on advance':
    'the view keeps the old bytes, and their pages, until `advance()`; what is new then comes on touch',
  same: 'nothing that the view shows changes',
  stays:
    'nothing is done: pages that a client without userfaultfd maps stay in memory, and who asked is told ' +
    'that none went',
  recall:
    'the client is asked to close the view, and then the operation goes on; when it does not, EBUSY names ' +
    'session, pid and file, and nothing has changed, or the session is revoked (below)',
} as const;
export type Outcome = keyof typeof outcomes;

export interface Case {
  readonly operation: string;
  /** In the order of `kinds`. */
  readonly outcomes: readonly Outcome[];
}

const every = (outcome: Outcome): Outcome[] => kinds.map(() => outcome);

/** Pages go, or others come in their place. */
const exchanged = kinds.map(({ client, follow, mode }): Outcome => {
  if (follow === 'manual') return 'on advance';
  if (client === 'on-demand') return 'at once';
  return mode === 'rw' ? 'recall' : 'swapped';
});

/** What was a hole gets pages: until a view has them it shows zeros, for which nobody waits. */
const given = (whole: readonly Outcome[]): Outcome[] =>
  kinds.map(({ follow, mode }, i) => {
    // Who maps a file to store has it without holes.
    if (mode === 'rw') return whole[i] as Outcome;
    return follow === 'manual' ? 'on advance' : 'swapped';
  });

/** Other pages, the same bytes. */
const moved = kinds.map(
  ({ client, mode }): Outcome => (client === 'pinned' && mode === 'rw' ? 'recall' : 'same'),
);

/** A touch brings pages back that are in the store, where a touch can wait. */
const evicted = kinds.map(({ client }): Outcome => (client === 'pinned' ? 'stays' : 'same'));

export const cases = {
  punch: { operation: '`punchHole` of whole pages', outcomes: exchanged },
  punchPart: { operation: '`punchHole`, `zeroRange`: a part of a page', outcomes: every('at once') },
  zero: { operation: '`zeroRange` of whole pages', outcomes: exchanged },
  allocate: { operation: '`allocate` in a hole', outcomes: every('same') },
  cut: { operation: '`truncate` down, whole pages', outcomes: exchanged },
  cutPart: { operation: '`truncate` down: the rest of the last page', outcomes: every('at once') },
  grow: { operation: '`truncate` up', outcomes: every('same') },
  write: { operation: '`write` in place', outcomes: every('at once') },
  writeHole: { operation: '`write` into a hole', outcomes: given(every('at once')) },
  replace: { operation: '`writeFile`, `replace`', outcomes: exchanged },
  replaceHole: { operation: '`writeFile`, `replace`: what was a hole', outcomes: given(exchanged) },
  unlink: { operation: '`unlink`', outcomes: every('same') },
  rename: { operation: '`rename`', outcomes: every('same') },
  renameOver: { operation: '`rename` of another file over it', outcomes: every('same') },
  move: { operation: '`move`', outcomes: moved },
  evict: { operation: '`evict`', outcomes: evicted },
} as const satisfies Record<string, Case>;
export type CaseName = keyof typeof cases;

/** At a node that is not the home of the file; all others are there as at the home. */
export const farKinds: readonly Kind[] = [
  of('on-demand', 'manual', 'r'),
  of('pinned', 'live', 'r'),
  of('pinned', 'manual', 'r'),
];

/** What becomes of a copy: whatever changes its file, in place or not, it is other pages. */
export const farOutcome = (name: CaseName, { follow }: Kind): Outcome =>
  cases[name].outcomes[0] === 'same' ? 'same' : follow === 'manual' ? 'on advance' : 'swapped';

/** The same for copies. */
export function farLeaseTable(): string {
  const rows = (Object.keys(cases) as CaseName[])
    .filter((name) => name !== 'evict')
    .map((name) => [cases[name].operation, ...farKinds.map((kind) => farOutcome(name, kind))]);
  return [
    `| | ${farKinds.map(headOf).join(' | ')} |`,
    `|---|${farKinds.map(() => '---|').join('')}`,
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
  ].join('\n');
}

const headOf = ({ client, follow, mode }: Kind): string => `${client}, ${follow}, ${mode}`;

/** The table for people. */
export function leaseTable(): string {
  const heads = kinds.map(headOf);
  const rows = Object.values(cases).map(
    ({ operation, outcomes: each }: Case) => `| ${[operation, ...each].join(' | ')} |`,
  );
  return [
    `| | ${heads.join(' | ')} |`,
    `|---|${kinds.map(() => '---|').join('')}`,
    ...rows,
    '',
    ...Object.entries(outcomes).map(([word, meaning]) => `- **${word}**: ${meaning}`),
  ].join('\n');
}
