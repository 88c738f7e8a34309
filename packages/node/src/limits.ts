/**
 * What a client may take of a node: one table, from which the node refuses, `clusterfs serve --limit` sets
 * and docs/security.md is generated. Limits of single messages are the protocol's (transport, frame.ts).
 */
import { type ErrorCode, FsError } from '@cluster-fs/transport';

interface Limit {
  /** Infinity: none, unless the operator sets one. */
  readonly default: number;
  readonly of: 'node' | 'user' | 'session' | 'connection';
  /** What who asks for more gets; undefined where it is not refused and waits. */
  readonly code: ErrorCode | undefined;
  /** How the code arrives. */
  readonly answer: string;
  readonly doc: string;
}

const define = <const T extends Readonly<Record<string, Limit>>>(table: T): T => table;

export const limitTable = define({
  connections: {
    default: 2048,
    of: 'user',
    code: 'EMFILE',
    answer: 'the new connection is turned away',
    doc: 'connections; a mount has two, and each costs two descriptors',
  },
  sessions: {
    default: 4096,
    of: 'node',
    code: 'EMFILE',
    answer: '`hello` fails',
    doc: 'sessions of all users',
  },
  helloMs: {
    default: 10_000,
    of: 'connection',
    code: 'ETIMEDOUT',
    answer: 'closed',
    doc: 'milliseconds to say `hello` or `attach`, and then to receive the answer with its descriptors',
  },
  pendingRequests: {
    default: 65_536,
    of: 'connection',
    code: 'EAGAIN',
    answer: 'the request fails, and nothing was done',
    doc: 'requests without an answer',
  },
  keptBytes: {
    default: 256 * 2 ** 20,
    of: 'user',
    code: 'ENOBUFS',
    answer: 'the request fails, or the connection is closed',
    doc: 'bytes of unfinished frames, of requests without an answer, and of what the peer does not read',
  },
  turnMs: {
    default: 10,
    of: 'user',
    code: undefined,
    answer: 'is read on when the others have had their turn',
    doc: 'milliseconds of messages of one user in a turn of the event loop',
  },
  messagesPerSecond: {
    default: Number.POSITIVE_INFINITY,
    of: 'user',
    code: undefined,
    answer: 'is not read until it is due',
    doc: 'messages a second; `turnMs` is what keeps one user from delaying the others',
  },
  views: { default: 16_384, of: 'session', code: 'EMFILE', answer: '`map` fails', doc: 'open views' },
  handles: { default: 65_536, of: 'session', code: 'EMFILE', answer: '`open` fails', doc: 'open handles' },
  writes: {
    default: 16_384,
    of: 'session',
    code: 'EDQUOT',
    answer: 'the write fails',
    doc: 'writes in place that have begun and not ended',
  },
  reservations: {
    default: 4096,
    of: 'session',
    code: 'EDQUOT',
    answer: 'the write fails',
    doc: 'reservations of pages that are not used up',
  },
  reservedBytes: {
    default: Number.POSITIVE_INFINITY,
    of: 'session',
    code: 'EDQUOT',
    answer: 'the write fails',
    doc: 'bytes of pages set aside: no file is written in one step that is larger',
  },
  pins: {
    default: 1024,
    of: 'session',
    code: 'EMFILE',
    answer: '`pin` fails',
    doc: "files that are kept in memory; what they take is nobody else's, see --memory",
  },
  subscriptions: {
    default: 1024,
    of: 'session',
    code: 'EMFILE',
    answer: '`watch` fails',
    doc: 'subscriptions to events',
  },
});

export type LimitName = keyof typeof limitTable;
export type Limits = Readonly<Record<LimitName, number>>;

const names = Object.keys(limitTable) as readonly LimitName[];
const isLimitName = (name: string): name is LimitName => names.includes(name as LimitName);

/**
 * All limits, those that are given instead of the defaults.
 *
 * @throws FsError EINVAL for a name that there is not, or what is no amount
 */
export function limitsWith(given: Readonly<Record<string, number | undefined>> = {}): Limits {
  const limits = Object.fromEntries(names.map((name) => [name, limitTable[name].default])) as Record<
    LimitName,
    number
  >;
  for (const [name, value] of Object.entries(given)) {
    const refuse = (why: string) => new FsError('EINVAL', 'serve', { why });
    if (!isLimitName(name)) throw refuse(`no limit is called ${name}; there are ${names.join(', ')}`);
    if (value === undefined) continue;
    if (!(value > 0) || (value !== Number.POSITIVE_INFINITY && !Number.isSafeInteger(value)))
      throw refuse(`${name} is ${value}, give a whole number above 0`);
    limits[name] = value;
  }
  return limits;
}

interface Where {
  readonly syscall: string;
  readonly path?: string | undefined;
}

/** The answer to who wants more than a limit. Requires: one that refuses. */
export function exceeded(limits: Limits, name: LimitName, { syscall, path }: Where): FsError {
  const { code, of } = limitTable[name];
  const each = of === 'node' ? '' : `, for each ${of}`;
  return new FsError(code ?? 'EAGAIN', syscall, { path, why: `limit ${name}=${limits[name]}${each}` });
}
