/**
 * A process that begins as root, becomes somebody else, and does what it is told: steps as JSON in argv,
 * each outcome in a list. What it needs is loaded before it gives up its rights: the checkout may not give
 * them to others.
 */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { Connection, native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { goodHello } from '../chaos/raw-session.mjs';

/** @typedef {import('./as-user.ts').Step} Step */

const { uid, gid, groups, socketPath, steps } = JSON.parse(process.argv[2] ?? '{}');
/** @type {Connection | undefined} */
let connection;
/** @type {readonly number[]} */
let descriptors = [];
/** @type {unknown} */
let farewell;
/** @type {import('cluster-fs').ClusterFs | undefined} */
let fs;
/** @type {import('cluster-fs').View | undefined} */
let view;

/** Rights that can be taken back, so that a step may change them between connecting and speaking. */
function become() {
  process.setgroups?.(groups);
  process.setegid?.(gid);
  process.seteuid?.(uid);
}

function beRoot() {
  process.seteuid?.(0);
  process.setegid?.(0);
}

/** @returns {Connection} */
function connected() {
  if (connection === undefined) throw new Error('connect first');
  return connection;
}

const actions = {
  connect: () => {
    connection = new Connection(native.connectUnix(socketPath), {
      onEvent: ({ name, fields }) => {
        if (name === 'bye') farewell = fields;
      },
    });
  },
  /** @param {readonly number[]} given */
  regroup: (given) => {
    beRoot();
    process.setgroups?.([...given]);
    process.setegid?.(gid);
    process.seteuid?.(uid);
  },
  /** What the node says before it hangs up, and how many descriptors came with it. */
  turnedAway: async () => {
    const open = connected();
    await open.request('status', {}).catch(() => undefined);
    return { farewell, descriptors: descriptors.length, isClosed: open.closed !== undefined };
  },
  /** @param {object} hello */
  hello: async (hello) => {
    await connected().request(
      'hello',
      { ...goodHello, ...hello },
      {
        onDescriptors: (received) => {
          descriptors = received;
        },
      },
    );
  },
  /** @param {any} name @param {any} fields */
  request: (name, fields) => connected().request(name, fields),
  /** @param {number} session @param {readonly number[]} token */
  attach: (session, token) => connected().request('attach', { session, token: Uint8Array.from(token) }),
  /** How `data` was opened, and whether it can be opened again to write. */
  dataAccess: () => {
    const info = readFileSync(`/proc/self/fdinfo/${descriptors[1]}`, 'utf8');
    const access = Number.parseInt(/^flags:\s+(\d+)$/m.exec(info)?.[1] ?? '', 8) & 3;
    const again = outcomeOf(() => closeSync(openSync(`/proc/self/fd/${descriptors[1]}`, constants.O_RDWR)));
    return again.then((outcome) => ({ access, again: outcome }));
  },
  /** @param {object} options */
  mount: async (options) => {
    fs = await mount(`unix:${socketPath}`, options);
  },
  /** @param {string} method @param {unknown[]} args */
  call: (method, ...args) => {
    const promises = /** @type {Record<string, (...args: unknown[]) => Promise<unknown>>} */ (
      /** @type {unknown} */ (fs?.promises)
    );
    return promises[method]?.(...args);
  },
  /** @param {string} path */
  map: async (path) => {
    view = await fs?.map(path);
  },
  /** @param {string} path */
  move: (path) => fs?.move(path),
  viewText: () => Buffer.from(view?.bytes ?? []).toString(),
  unmount: async () => {
    view?.close();
    await fs?.unmount();
  },
};

/** @param {() => unknown} action @returns {Promise<{ value?: unknown, code?: string, message?: string }>} */
async function outcomeOf(action) {
  try {
    return { value: await action() };
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    return { code: code ?? 'bug', message };
  }
}

become();
const outcomes = [];
for (const [name, ...args] of /** @type {Step[]} */ (steps)) {
  const action = /** @type {Record<string, (...args: any[]) => unknown>} */ (actions)[name];
  outcomes.push(await outcomeOf(() => action?.(...args)));
}
connection?.close();
process.send?.({ kind: 'outcomes', outcomes });
process.disconnect?.();
