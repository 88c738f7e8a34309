/**
 * The session worker: the thread of the application's process that talks to the node about its views.
 *
 *   connecting ──welcome──▶ open ──connection lost──▶ away ──welcome again──▶ open
 *        └──refused──▶ ended     └──close──▶ ended      └──given up──▶ ended
 *
 * It swaps pages under arrays while the application's thread computes, sleeps, or waits in a page fault that
 * only the swap resolves. So nothing here may wait for that thread, nor use the libuv thread pool, all of
 * whose threads can be waiting in such faults too.
 */
import { fstatSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import {
  assert,
  type Connection,
  type ConnectionHandlers,
  type Event,
  FsError,
  native,
  type Reply,
  Spinner,
} from '@cluster-fs/transport';
import { pageSize } from '../segment/layout.ts';
import { Arming } from './arming.ts';
import { answerFetch } from './blocking-fetch.ts';
import { type Guessed, mapSeen } from './guess.ts';
import { dial, sayHello } from './handshake.ts';
import type { LeaseWatch } from './lease-watch.ts';
import { type Mapping, mappedLength, rearm, reserveMapping, samePlaces, unmapMapping } from './mapping.ts';
import { type OpenView, OpenViews, setState } from './open-views.ts';
import { Resumption } from './resumption.ts';
import {
  fromPlain,
  type MapOptions,
  type Mapped,
  type Seen,
  type SessionFacts,
  type ToMain,
  type ToWorker,
  toPlain,
  viewState,
  type WorkerOptions,
} from './worker-protocol.ts';

const options = workerData as WorkerOptions;
assert(parentPort !== null, 'session-worker runs in a worker');
const port = parentPort;
const tell = (message: ToMain): void => port.postMessage(message);

const userfault = createUserfault();
const spinner = new Spinner();
let connection: Connection | undefined;
/** The connection of a session that was revoked: open until nothing of this process touches `data`. */
let revoked: Connection | undefined;
let facts: SessionFacts | undefined;
const resumption = new Resumption({
  flags: new Int32Array(options.flags),
  say: () => connection?.request('resumed', {}),
});
let reconnecting = false;
/** Who waits for the node to be back, or for the session to be given up. */
const waitingForNode: (() => void)[] = [];
let ended = false;
/** Where files may have another home. */
let watch: LeaseWatch | undefined;
/** Of the node that knows the views as they are shown. */
let watched: SessionFacts | undefined;
const views = new OpenViews({
  userfault: userfault?.fd,
  dataFd: () => facts?.dataFd ?? -1,
  say: (name, fields) => connection?.event(name, fields),
  tell,
  shown: (view) => watch?.shown(view),
});
const arming = new Arming({
  tellWhere: (view) => tellWhere(view),
  isOpen: (view) => views.get(view.key) === view,
  shown: (view) => watch?.shown(view),
});

function createUserfault(): { fd: number; kernelFaults: boolean } | undefined {
  if (options.pinned || options.access === 'r') return undefined;
  try {
    return native.createUserfault();
  } catch (error) {
    // No userfaultfd here (seccomp, an old kernel): a pinned client, whose files move only when it lets them.
    if (error instanceof FsError) return undefined;
    throw error;
  }
}

const unmounted = (): FsError => new FsError('ECANCELED', 'mount');

/** Connects and says hello. */
async function connect(): Promise<SessionFacts> {
  const handlers: ConnectionHandlers = {
    onEvent: (event) => {
      // Who was told to go does nothing more.
      if (opening === revoked) return;
      if (event.name === 'remap') views.onRemap(event.fields);
      else if (event.name === 'changed') views.onChanged(event.fields);
      else if (event.name === 'recall') views.onRecall(event.fields);
      else if (event.name === 'event') tell({ type: 'event', event: event.fields });
      else if (event.name === 'leases') watch?.look();
      else if (event.name === 'bye') onBye(opening, event.fields);
    },
    onBatchEnd: () => views.applyWaiting(),
    onClose: (reason) => onLost(opening, reason),
  };
  const opening: Connection = await dial(options, handlers, spinner);
  try {
    // By now the number of `userfault` may be that of this connection.
    if (ended) throw unmounted();
    const { layoutHash, access, label, onHomeLoss } = options;
    const opened = await sayHello(options, opening, {
      layoutHash,
      access,
      label,
      onHomeLoss,
      userfault,
    });
    if (opened.paged) watch ??= await watchLeases();
    if (ended || opening.closed !== undefined) {
      // Nobody else would close these, or look for the node.
      for (const fd of [opened.metaFd, opened.dataFd, opened.lockFd]) native.closeDescriptor(fd);
      throw opening.closed ?? unmounted();
    }
    connection = opening;
    resumption.opened(opened.lockFd);
    return opened;
  } catch (error) {
    opening.close();
    throw error;
  }
}

/** Loaded where it is used: a node alone without a store has nothing to watch. */
async function watchLeases(): Promise<LeaseWatch> {
  const { LeaseWatch } = await import('./lease-watch.ts');
  return new LeaseWatch({
    views: () => views.all,
    meta: () => watched,
    isOfFile: ({ options: { follow } }) => userfault !== undefined && follow === 'live',
    isUnarmed: (view) => arming.isUnarmed(view),
  });
}

/**
 * The session is over. What the views map is the node's to give to others as soon as this connection closes,
 * so first they become zeros, and then the stores of the application's thread must have come to their ends.
 */
function onBye(control: Connection, { code, why }: Event<'bye'>): void {
  ended = true;
  const error = new FsError(code as FsError['code'], 'mount', { why });
  if (connection !== control) {
    control.close(error);
    return;
  }
  connection = undefined;
  revoked = control;
  resumption.stop();
  const stale = views.forsake();
  watch?.close();
  tell({ type: 'lost', error: toPlain(error), stale });
}

/** The node is gone, or gave us up. Views stay as they are; look for the node. */
function onLost(control: Connection, reason: FsError): void {
  if (connection !== control) return;
  connection = undefined;
  resumption.stop();
  if (ended) tell({ type: 'lost', error: toPlain(reason), stale: [] });
  else if (!reconnecting) {
    tell({ type: 'away' });
    reconnect().catch((error: unknown) => {
      throw error;
    });
  }
}

/** Looks for the node until it is back and knows our views, or until it is given up. One at a time. */
async function reconnect(): Promise<void> {
  reconnecting = true;
  const sinceMs = performance.now();
  for (let waitMs = 5; !ended; waitMs = Math.min(waitMs * 2, 250)) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    if (ended) break;
    try {
      await resume();
      break;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      connection?.close(error);
      if (ended) break;
      if (error.code !== 'ESTALE' && performance.now() - sinceMs < options.reconnectMs) continue;
      ended = true;
      tell({ type: 'lost', error: toPlain(error), stale: [] });
    }
  }
  reconnecting = false;
  for (const wake of waitingForNode.splice(0)) wake();
}

/** One attempt to go on with the node that is there now. */
async function resume(): Promise<void> {
  const before = facts as SessionFacts;
  const now = await connect();
  try {
    if (Buffer.compare(before.segmentId, now.segmentId) !== 0) {
      throw giveUp('the node that came back has another segment');
    }
    // The old descriptor stays: the application's thread, and the pool, may be in the middle of a call with
    // its number.
    if (!isSameFile(before.dataFd, now.dataFd)) throw giveUp('the node that came back has other data');
    facts = { ...now, dataFd: before.dataFd };
    const stale = await presentAll(facts);
    watched = facts;
    for (const view of views.all) watch?.shown(view);
    if (connection === undefined) throw new FsError('ECONNRESET', 'mount');
    native.closeDescriptor(now.dataFd);
    tell({ type: 'back', facts, stale, times: resumption.back() });
  } catch (error) {
    facts = before;
    native.closeDescriptor(now.metaFd);
    native.closeDescriptor(now.dataFd);
    throw error;
  }
}

function isSameFile(a: number, b: number): boolean {
  const [one, other] = [fstatSync(a), fstatSync(b)];
  return one.dev === other.dev && one.ino === other.ino;
}

const giveUp = (why: string): FsError => new FsError('ESTALE', 'mount', { why });

/**
 * Shows every lease to the node that came back and goes where the files are now; who waited in a fault goes
 * on.
 */
async function presentAll(now: SessionFacts): Promise<number[]> {
  const stale: number[] = [];
  views.forgetNumbers();
  for (const view of views.all) {
    const { mapping, ino, generation, state } = view;
    const { path, mode, follow, offset } = view.options;
    const asked = control().request('present', {
      view: view.id,
      ino,
      generation,
      mode,
      follow,
      path,
      offset,
      size: state[viewState.size] as number,
      layoutVersion: state[viewState.layoutVersion] as number,
      address: mapping.address,
      length: mapping.pages * pageSize,
      extents: view.extents,
    });
    const reply = await views.leasing(asked);
    if (ended) throw new FsError('ECANCELED', 'map');
    views.renumber(view, reply.view);
    const isWhereItWas = samePlaces(view.extents, reply.extents) && !arming.isUnarmed(view);
    view.extents = reply.extents;
    setState(view, reply);
    view.isStale = reply.stale;
    if (now.paged && userfault !== undefined && isWhereItWas) rearm(mapping, userfault.fd, view.extents);
    else await showAnew(view, now);
    if (reply.stale) stale.push(view.key);
    views.applyWaiting();
  }
  return stale;
}

/** Puts pages under a view that the node could not arm before they were there. */
async function showAnew(view: OpenView, { dataFd, paged }: SessionFacts): Promise<void> {
  const { ino, mapping } = view;
  const isAwaited = !view.isStale && paged && userfault !== undefined;
  const isPaused = isAwaited && arming.pause(view);
  if (isAwaited && !isPaused)
    await control().request('fetch', { ino, from: mapping.from, count: mapping.pages });
  views.showAll(view, { dataFd, isPaused });
  if (isPaused) await arming.arm(view);
}

function control(): Connection {
  if (connection === undefined) throw new FsError('ENOTCONN', 'map', { why: 'the node is away' });
  return connection;
}

/**
 * Opens a view. What the application's thread saw is mapped before the node is asked: when the file is there
 * still, that one question is enough.
 */
async function map(request: MapOptions, seen: Seen | undefined): Promise<Mapped> {
  const guessed = seen === undefined ? undefined : mapSeen(request, seen, facts?.dataFd ?? -1);
  let lease: Reply<'lease'> | undefined;
  try {
    lease = await askForLease(request, guessed);
  } finally {
    if (guessed !== undefined && lease?.mapped !== true) unmapMapping(guessed.mapping);
  }
  const { view: id, ino, generation, length, size, layoutVersion, extents, mapped } = lease;
  const from = request.offset / pageSize;
  const mapping =
    guessed !== undefined && mapped
      ? guessed.mapping
      : reserveFor(request, { id, from, pages: Math.ceil(length / pageSize) });
  const state = new SharedArrayBuffer(viewState.length * 8);
  const view = views.add({
    mapping,
    options: request,
    ino,
    generation,
    state: new Float64Array(state),
    id,
    extents,
  });
  if (!mapped) views.show(view, { from, count: mapping.pages, extents });
  setState(view, { size, layoutVersion });
  views.applyWaiting();
  watch?.shown(view);
  if (!mapped) await sayMapped(view);
  return { key: view.key, address: mapping.address, mappedLength: mappedLength(mapping), length, ino, state };
}

async function askForLease(request: MapOptions, guessed: Guessed | undefined): Promise<Reply<'lease'>> {
  const lease = await views.leasing(control().request('lease', { ...request, guess: guessed?.guess }));
  // Revoked behind the answer: what it names must not be mapped any more.
  if (ended) throw new FsError('ECANCELED', 'map', { path: request.path });
  return lease;
}

const tellWhere = ({ id, mapping }: OpenView): Promise<unknown> =>
  control().request('mapped', { view: id, address: mapping.address, length: mappedLength(mapping) });

async function sayMapped(view: OpenView): Promise<void> {
  try {
    await tellWhere(view);
  } catch (error) {
    unmap(view.key, false);
    throw error;
  }
}

/** Addresses for a view that was granted. When there are none, the lease ends. */
function reserveFor(
  { mode, path }: MapOptions,
  { id, from, pages }: { id: number; from: number; pages: number },
): Mapping {
  try {
    return reserveMapping({ from, pages, mode, label: path });
  } catch (error) {
    release(id).catch(() => undefined);
    throw error;
  }
}

function unmap(key: number, keepAddresses: boolean): void {
  const view = views.get(key);
  if (view === undefined) return;
  watch?.forget(view);
  views.close(view, { keepAddresses, release });
}

const release = async (view: number): Promise<unknown> => connection?.request('release', { view });

async function advance(key: number): Promise<{ size: number; layoutVersion: number }> {
  const view = views.get(key);
  if (view === undefined) throw new FsError('EBADF', 'advance', { why: 'the view is closed' });
  const { size, layoutVersion, unarmed } = await control().request(
    'advance',
    { view: view.id },
    { onReply: (reply) => onAdvanced(view, reply as Reply<'advance'>) },
  );
  if (unarmed && views.get(key) === view) await arming.arm(view);
  return { size, layoutVersion };
}

/** Between the remaps that came before it and those that come behind. */
function onAdvanced(view: OpenView, reply: Reply<'advance'>): void {
  const { serial, size, layoutVersion, extents, unarmed } = reply;
  views.applyWaiting();
  if (views.get(view.key) !== view) return;
  if (unarmed) arming.pause(view);
  views.showChanged(view, extents, { isPaused: arming.isUnarmed(view) });
  watch?.shown(view);
  setState(view, { size, layoutVersion });
  connection?.event('ack', { view: view.id, serial });
}

function answer(id: number, result: Promise<unknown>): void {
  result.then(
    (value) => tell({ type: 'done', id, value }),
    (error: unknown) => {
      if (!(error instanceof FsError)) throw error;
      tell({ type: 'failed', id, error: toPlain(error) });
    },
  );
}

/**
 * Requests that fail because the node is away are tried again when it is back: a view is opened late, not
 * never.
 */
port.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'map':
      answer(
        message.id,
        attempt(() => map(message.options, message.seen)),
      );
      return;
    case 'advance':
      answer(
        message.id,
        attempt(() => advance(message.key)),
      );
      return;
    case 'request':
      answer(
        message.id,
        attempt(() => control().request(message.name, message.fields)),
      );
      return;
    case 'fetchNow': {
      const { ino, from, count, answer: to } = message;
      attempt(() => control().request('fetch', { ino, from, count })).then(
        () => answerFetch(to),
        (error: unknown) => answerFetch(to, error as FsError),
      );
      return;
    }
    case 'unmap':
      unmap(message.key, message.keepAddresses);
      return;
    case 'drained':
      if (revoked === undefined) resumption.drained(message.times);
      else {
        resumption.close();
        revoked.close();
      }
      return;
    case 'keep': {
      const view = views.get(message.key);
      if (view !== undefined) connection?.event('keep', { view: view.id });
      return;
    }
    case 'close':
      ended = true;
      watch?.close();
      views.end(release);
      connection?.close();
      revoked?.close();
      if (userfault !== undefined) native.closeDescriptor(userfault.fd);
      spinner.close();
      resumption.close();
      port.close();
  }
});

/** Runs an operation, again whenever the node went away before it answered; gives up with the session. */
async function attempt<T>(operation: () => Promise<T>): Promise<T> {
  for (;;) {
    const asked = connection;
    try {
      return await operation();
    } catch (error) {
      const lost = error instanceof FsError && (error.code === 'ENOTCONN' || error.code === 'ECONNRESET');
      // What the node itself says, of another node that is away, is an answer.
      const isAnswer = asked !== undefined && asked.closed === undefined;
      if (!lost || isAnswer || ended) throw error;
      if (connection === undefined) await new Promise<void>((resolve) => waitingForNode.push(resolve));
    }
  }
}

connect().then(
  (opened) => {
    facts = opened;
    watched = opened;
    tell({ type: 'open', facts: opened });
  },
  (error: unknown) => {
    ended = true;
    if (!(error instanceof FsError)) throw error;
    tell({ type: 'refused', error: toPlain(fromPlain(toPlain(error))) });
    port.close();
  },
);
