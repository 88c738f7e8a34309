/** What messages are made of: records that several of them have. */
import { list, oneOf, type RecordOf, record, text, u32, u53 } from './codec.ts';

/** Longest path a peer may send (PATH_MAX), and with it the longest symlink target. */
export const maxPathLength = 4096;
/** Pieces in one message; a file with more extents is sent in several. */
const maxRuns = 65_536;

export const path = text(maxPathLength);

/** A run of pages of the segment: where it starts and how many pages it has. */
export const run = { page: u32, count: u32 };
export type Run = RecordOf<typeof run>;
export const runs = list(record('run', run), maxRuns);

/** Where `count` pages of a file, from `filePage` on, lie in the segment. */
export const extent = { filePage: u32, page: u32, count: u32 };
export type Extent = RecordOf<typeof extent>;
export const extents = list(record('extent', extent), maxRuns);

/** What a client has mapped before it had a lease: which inode, in which layout, where. */
export const guess = { ino: u32, generation: u32, layoutVersion: u53, address: u53, length: u53 };
export type Guess = RecordOf<typeof guess>;

/** `count` pages of a file, from `filePage` on, that have no page of the segment. */
export const hole = { filePage: u32, count: u32 };
export type Hole = RecordOf<typeof hole>;
export const holes = list(record('hole', hole), maxRuns);

/** Of moves, this many are told. */
const maxMoves = 1000;

/** A file that could not be moved to another node, and why. */
const moveFailure = { path, why: text(1024) };
export type MoveFailure = RecordOf<typeof moveFailure>;
export const moveFailures = list(record('failure', moveFailure), maxMoves);

/** A file that is moved from one node to another, by their names, and why. */
const plannedMove = { path, from: text(256), to: text(256), bytes: u53, why: oneOf('use', 'space') };
export type PlannedMove = RecordOf<typeof plannedMove>;
export const plannedMoves = list(record('move', plannedMove), maxMoves);
/** Names of nodes. */
export const names = list(text(256), maxMoves);

/** What touches may get while the home of a file is away. */
export const homeLossPolicies = ['wait', 'fail', 'poison'] as const;
export type HomeLossPolicy = (typeof homeLossPolicies)[number];
export const homeLoss = oneOf(...homeLossPolicies);
