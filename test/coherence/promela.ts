/**
 * The protocol as a model for spin(1), made from the tables that the nodes run: one block, its home, and
 * some caches of which the first is the home's own. What an action does is said here in Promela; which
 * action follows which message is in the tables alone.
 *
 * Time is not in it: a node is lost at any moment, and nobody there can use the block any more then. That
 * leases see to this is for the simulation to show.
 */
import {
  type CacheAction,
  type CacheEvent,
  type CacheRow,
  cacheEvents,
  cacheStates,
  cacheTable,
  type DirectoryAction,
  type DirectoryGuard,
  type DirectoryRow,
  directoryStates,
  directoryTable,
  toCache,
  toDirectory,
} from 'cluster-fs/coherence';

export interface ModelOptions {
  readonly caches?: number;
  /** How often a node is lost. */
  readonly losses?: number;
  readonly tables?: { readonly cache?: typeof cacheTable; readonly directory?: typeof directoryTable };
}

const toCacheEvents = Object.keys(toCache) as (keyof typeof toCache)[];
const cacheState = (name: string): string => `c_${name}`;
const directoryState = (name: string): string => `d_${name}`;
const message = (name: string): string => `m_${name}`;

export function promelaModel({ caches = 3, losses = 1, tables = {} }: ModelOptions = {}): string {
  const { cache = cacheTable, directory = directoryTable } = tables;
  return [
    declarations(caches, losses),
    directoryStep(directory, caches),
    cacheProcess(cache),
    directoryProcess(caches),
    `init { atomic { state[0] = c_E; mapped[0] = STORE; owner = 0;
  run directory();
${Array.from({ length: caches }, (_, n) => `  run cache(${n});`).join('\n')}
} }`,
  ].join('\n\n');
}

function declarations(caches: number, losses: number): string {
  const names = new Set([...Object.keys(toDirectory), ...Object.keys(toCache), ...Object.keys(cacheEvents)]);
  const messages = [...names, 'clear', 'lost'].map(message);
  const states = [
    ...Object.keys(cacheStates).map(cacheState),
    ...Object.keys(directoryStates).map(directoryState),
  ];
  return `#define N ${caches}
#define LINE ${2 * caches + 2}
#define NOBODY 255
#define NONE 0
#define LOAD 1
#define STORE 2
#define BIT(n) (1 << (n))
mtype = { ${messages.join(', ')} };
mtype = { ${states.join(', ')} };

/* What was stored last, at all; what the home has; what each cache has, and its processes may do with it. */
bit newest; bit home; bit copy[N]; byte mapped[N];
mtype state[N] = c_I;
/* What is being done to the memory of its processes: nothing (0), drop (1), protect (2). */
byte work[N];
chan up[N] = [6] of { mtype, bit };
chan down[N] = [6] of { mtype, bit };

mtype dir = d_owned; byte owner = NOBODY; byte sharers; byte awaited;
mtype lineEvent[LINE]; byte lineFrom[LINE]; byte line;
bit clearing; byte losses = ${losses};

inline send(channel, name, bytes) { assert(nfull(channel)); channel!name(bytes) }
inline alone(n) {
  other = 0;
  do :: other < N -> assert(other == n || mapped[other] == NONE); other++ :: else -> break od;
  other = 0 }
`;
}

/** What a cache does when something comes: one of these events. */
function cacheRows(table: typeof cacheTable, events: readonly CacheEvent[]): string {
  const rows = Object.entries(table).flatMap(([from, cells]) =>
    events.flatMap((event) => {
      const row = cells[event];
      const condition = `state[n] == ${cacheState(from)} && name == ${message(event)}`;
      return row === 'never' ? [] : [`       :: ${condition} -> ${cacheCode(row)}`];
    }),
  );
  return `if
${rows.join('\n')}
       :: else -> assert(false)
       fi`;
}

const cacheCode = ({ next, actions }: CacheRow): string =>
  [`state[n] = ${cacheState(next)}`, ...actions.map(actionCode).filter((code) => code !== '')].join('; ');

function actionCode(action: CacheAction): string {
  switch (action) {
    case 'drop':
      return 'work[n] = 1';
    case 'protect':
      return 'work[n] = 2';
    case 'install':
      return 'copy[n] = bytes; mapped[n] = LOAD';
    case 'installWritable':
      return 'copy[n] = bytes; mapped[n] = STORE; alone(n)';
    case 'allow':
      return 'mapped[n] = STORE; alone(n)';
    case 'fail':
    case 'lose':
      return '';
    default:
      return `send(up[n], ${message(action)}, copy[n])`;
  }
}

/** What a cache does of itself, wherever that changes something. */
function cacheProcess(table: typeof cacheTable): string {
  const own = (['read', 'write', 'evict', 'flush'] as const).flatMap((event) =>
    Object.entries(table).flatMap(([from, cells]) => {
      const row = cells[event];
      if (row === 'never' || (row.next === from && row.actions.length === 0)) return [];
      // Else a cache could write back for ever, and nothing else would come to pass.
      const room = event === 'flush' ? ' && empty(up[n])' : '';
      return [`  :: atomic { state[n] == ${cacheState(from)}${room} -> ${cacheCode(row)} }`];
    }),
  );
  return `proctype cache(byte n) {
  byte other; mtype name; bit bytes;
  do
${own.join('\n')}
  :: atomic { work[n] != 0 ->
       if :: work[n] == 1 -> mapped[n] = NONE :: else -> mapped[n] = LOAD fi;
       work[n] = 0; name = m_done;
       ${cacheRows(table, ['done'])} }
  :: atomic { down[n]?name(bytes) ->
       ${cacheRows(table, toCacheEvents)};
       name = m_done; bytes = 0 }
  :: atomic { mapped[n] != NONE -> assert(copy[n] == newest) }
  :: atomic { mapped[n] == STORE -> alone(n); newest = 1 - newest; copy[n] = newest }
  od
}`;
}

const guardCode: Readonly<Record<DirectoryGuard, string>> = {
  others: '(sharers & ~BIT(from)) != 0',
  copies: 'sharers != 0',
  last: '(awaited & ~BIT(from)) == 0',
  owner: 'owner == from',
};

function directoryActionCode(action: DirectoryAction, caches: number): string {
  const toEach = (condition: string): string =>
    `${Array.from(
      { length: caches },
      (_, n) =>
        `if :: ${condition.replaceAll('#', String(n))} -> send(down[${n}], m_invalidate, 0) :: else fi`,
    ).join('; ')}`;
  switch (action) {
    case 'share':
      return 'send(down[from], m_shared, home); sharers = sharers | BIT(from)';
    case 'grant':
      return `if :: event == m_upgrade && (sharers & BIT(from)) != 0 -> send(down[from], m_granted, 0)
       :: else -> send(down[from], m_exclusive, home) fi; owner = from; sharers = 0`;
    case 'invalidateOthers':
      return `awaited = (event == m_clear -> sharers : sharers & ~BIT(from));
       ${toEach('(awaited & BIT(#)) != 0')}`;
    case 'downgradeOwner':
      return 'send(down[owner], m_downgrade, 0)';
    case 'recallOwner':
      return 'send(down[owner], m_recall, 0)';
    case 'enqueue':
      return 'assert(line < LINE); lineEvent[line] = event; lineFrom[line] = from; line++';
    case 'retry':
      return `assert(line < LINE); i = line; do :: i > 0 -> lineEvent[i] = lineEvent[i-1];
       lineFrom[i] = lineFrom[i-1]; i-- :: else -> break od;
       lineEvent[0] = event; lineFrom[0] = from; line++`;
    case 'store':
      return 'home = bytes';
    case 'revert':
      return 'newest = home';
    case 'ownerShares':
      return 'sharers = sharers | BIT(owner)';
    case 'noOwner':
      return 'owner = NOBODY';
    case 'leave':
      return 'sharers = sharers & ~BIT(from); awaited = awaited & ~BIT(from)';
    case 'forget':
      return `sharers = sharers & ~BIT(from); awaited = awaited & ~BIT(from); i = 0; j = 0;
       do :: i < line -> if :: lineFrom[i] != from || lineEvent[i] == m_clear ->
         lineEvent[j] = lineEvent[i]; lineFrom[j] = lineFrom[i]; j++ :: else fi; i++ :: else -> break od;
       line = j`;
    case 'cleared':
      return 'alone(NOBODY); newest = 1 - newest; home = newest; clearing = 0';
  }
}

function directoryStep(table: typeof directoryTable, caches: number): string {
  const code = ({ next, actions }: DirectoryRow): string =>
    [...actions.map((action) => directoryActionCode(action, caches)), `dir = ${directoryState(next)}`].join(
      '; ',
    );
  const rows = Object.entries(table).flatMap(([from, cells]) =>
    Object.entries(cells).flatMap(([event, cell]) => {
      if (cell === 'never') return [];
      const condition = `dir == ${directoryState(from)} && event == ${message(event)}`;
      // The first row that fits.
      const before: string[] = [];
      return cell.map((row) => {
        const guards = [...before, ...(row.when === undefined ? [] : [guardCode[row.when]])];
        if (row.when !== undefined) before.push(`!(${guardCode[row.when]})`);
        return `  :: ${[condition, ...guards].join(' && ')} -> ${code(row)}`;
      });
    }),
  );
  return `inline react() {
  if
${rows.join('\n')}
  :: else -> assert(false)
  fi
}

inline stepDirectory() {
  do
  :: true ->
     react();
     if
     :: (dir == d_idle || dir == d_owned) && line > 0 ->
        event = lineEvent[0]; from = lineFrom[0]; line--;
         i = 0; do :: i < line -> lineEvent[i] = lineEvent[i+1]; lineFrom[i] = lineFrom[i+1]; i++
        :: else -> break od;
        lineEvent[line] = 0; lineFrom[line] = 0
     :: else -> break
     fi
  od;
  i = line; do :: i < LINE -> lineEvent[i] = 0; lineFrom[i] = 0; i++ :: else -> break od;
  event = m_done; from = 0; bytes = 0; i = 0; j = 0; other = 0
}`;
}

/**
 * Takes messages, wants the block for itself, and notices losses: a node other than the home, whose lease is
 * over, and which comes back as one that knows nothing.
 */
function directoryProcess(caches: number): string {
  const each = Array.from({ length: caches }, (_, n) => n);
  const receive = each.map((n) => `     :: up[${n}]?event(bytes) -> from = ${n}`);
  const lose = each.slice(1).map((n) => `     :: losses > 0 -> from = ${n}; event = m_lost`);
  return `proctype directory() {
  mtype event; byte from; bit bytes; byte i; byte j; byte other;
  do
  :: atomic {
     if
${[...receive, ...lose].join('\n')}
     :: clearing == 0 -> clearing = 1; event = m_clear; from = 0
     fi;
     if
     :: event == m_lost ->
        losses--; mapped[from] = NONE; state[from] = c_I; work[from] = 0; copy[from] = 0;
        do :: down[from]?event(bytes) :: empty(down[from]) -> break od;
        do :: up[from]?event(bytes) :: empty(up[from]) -> break od;
        event = m_lost; bytes = 0
     :: else
     fi;
     stepDirectory()
  }
  od
}`;
}
