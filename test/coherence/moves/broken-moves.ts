/** Rules of moves, each of which can be broken: what checks them must notice that. */
export const moveRules = {
  quiet: 'a file is handed over when those have their blocks who asked before',
  alone: 'the next home gets with no other copy what third nodes have',
  commit: 'the next home serves nobody before the commit',
  left: 'a home that gave a file away answers nothing about it',
  moved: 'who asks where the file was is told so',
  number: 'what is said of one move says nothing of another',
  outlived: 'what is kept for a move is not used when the session is over',
  shown: 'processes of an old home that stands still stop with its lease on the next one',
  given: 'nobody gets a block, or changes one, while the file stands still',
  candidate: 'what a next home has is kept over its death',
  stays: 'a node that stops becomes the home of nothing more',
  settled: 'a node that stops waits until it is known whose the files are that are on their way',
  beside: 'what a home that stops has beside its pages is stored, too',
  home: 'a home that stops takes back what others have, and lends nothing more',
  givenUp: 'a node that stops gives back what it has',
  answered: 'a node that leaves has answered what it was asked before',
  back: 'what a home changes of a file is taken back first',
  told: 'nobody gets a block of what the coordinator has not been told',
  position: 'who gets a block knows the file as it is',
  known: 'so does the next home before it is given the file',
} as const;
export type MoveRule = keyof typeof moveRules;
