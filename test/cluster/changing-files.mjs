/**
 * Changes files in every way, each change at another node than the one before, and reads each at any node
 * afterwards, by API and through a view: it must be what was made of it.
 *   node changing-files.mjs SEED CHANGES AGAIN URL...
 *
 * AGAIN: codes after which the same is asked again, joined by commas; then nodes may die, and what is stored
 * through views is synced. WRONG: what is read need not be right at once.
 *
 * Told { url, isThere, changes }, it begins to use a node, or leaves it, and says 'done' after so many more
 * changes. In the end it says 'changed', and what was wrong.
 */
import { EventEmitter, once } from 'node:events';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { mount } from 'cluster-fs';
import '../chaos/parent.mjs';
import { randomOf } from '../random.mjs';

const [seed, changes, codes, ...urls] = process.argv.slice(2);
const again = new Set(codes?.split(',').filter((code) => code !== ''));
const random = randomOf(Number(seed));
const files = 4;
const maxBytes = 1_000_000;
const maxChange = 300_000;
/** Views of a file that last, where nodes do not die. */
const mostKept = again.size > 0 ? 0 : Number(process.env.CLUSTERFS_KEPT ?? 2);
const swapMs = 60;

/** @typedef {import('cluster-fs').ClusterFs} Fs @typedef {{ fs: Fs, busy: Set<Promise<void>> }} Seat */
/** @typedef {{ url: string, isThere: boolean, changes: number }} Order */
/** @type {Map<string, Seat>} */
const seats = new Map();
/** @type {string[]} */
const findings = [];
const progress = new EventEmitter();
let made = 0;
let isOver = false;

/** @param {string} url */
async function sit(url) {
  seats.set(url, { fs: await mount(url), busy: new Set() });
}

/** @param {string} url */
async function rise(url) {
  const seat = seats.get(url);
  seats.delete(url);
  await Promise.all(seat?.busy ?? []);
  await seat?.fs.unmount();
}

class Wrong extends Error {
  code = 'WRONG';
}

/** Asked again for so long only: a node that comes back to its coordinator shows what it knew before. */
const soon = new Set(['WRONG', 'ENOENT', 'ESTALE']);
const soonMs = 10_000;

/** @param {Fs} fs @param {(fs: Fs) => Promise<void>} work */
async function untilDone(fs, work) {
  const endMs = performance.now() + soonMs;
  for (;;) {
    try {
      return await work(fs);
    } catch (error) {
      const { code = '' } = /** @type {NodeJS.ErrnoException} */ (error);
      if (!again.has(code) || (soon.has(code) && performance.now() > endMs)) throw error;
      await setImmediate();
    }
  }
}

/** @param {string} what @param {(fs: Fs) => Promise<void>} work */
async function anywhere(what, work) {
  const [url, { fs, busy }] = random.pick([...seats]);
  const working = untilDone(fs, work).catch((/** @type {Error} */ { message }) => {
    findings.push(`${what} at ${url}: ${message}`);
  });
  busy.add(working);
  await working;
  busy.delete(working);
}

/** @param {number} size */
function rangeIn(size) {
  const offset = random.below(size);
  return { offset, length: 1 + random.below(Math.min(maxChange, size - offset)) };
}

/** What becomes of it, and how. @typedef {{ next: Buffer, apply: (fs: Fs) => Promise<void> }} Change */
/** @type {Record<string, (path: string, was: Buffer) => Change>} */
const ways = {
  write(path, was) {
    const { offset, length } = rangeIn(maxBytes - maxChange);
    const next = Buffer.alloc(Math.max(was.length, offset + length));
    was.copy(next);
    next.fill(random.below(256), offset, offset + length);
    const apply = async (/** @type {Fs} */ { promises }) => {
      const handle = await promises.open(path, 'r+');
      try {
        await handle.write(next, offset, length, offset);
      } finally {
        await handle.close();
      }
    };
    return { next, apply };
  },
  truncate(path, was) {
    const next = Buffer.alloc(1 + random.below(maxBytes));
    was.copy(next);
    return { next, apply: ({ promises }) => promises.truncate(path, next.length) };
  },
  punch(path, was) {
    const { offset, length } = rangeIn(was.length);
    const next = Buffer.from(was).fill(0, offset, offset + length);
    return { next, apply: ({ promises }) => promises.punchHole(path, offset, length) };
  },
  zero(path, was) {
    const { offset, length } = rangeIn(was.length);
    const next = Buffer.from(was).fill(0, offset, offset + length);
    return { next, apply: ({ promises }) => promises.zeroRange(path, offset, length) };
  },
  allocate(path, was) {
    const { offset, length } = rangeIn(maxBytes);
    const next = Buffer.alloc(Math.max(was.length, offset + length));
    was.copy(next);
    return { next, apply: ({ promises }) => promises.allocate(path, offset, length) };
  },
  swap(path) {
    const next = Buffer.alloc(1 + random.below(maxBytes), 1 + random.below(255));
    return { next, apply: (fs) => fs.replace(path, next) };
  },
  replace(path) {
    const next = Buffer.alloc(1 + random.below(maxBytes), 1 + random.below(255));
    return { next, apply: ({ promises }) => promises.writeFile(path, next) };
  },
  /** Another file, often with the number of the one before. */
  remake(path) {
    const next = Buffer.alloc(1 + random.below(maxBytes), 1 + random.below(255));
    const apply = async (/** @type {Fs} */ { promises }) => {
      await promises.rm(path, { force: true });
      await promises.writeFile(path, next);
    };
    return { next, apply };
  },
  rename(path) {
    const next = Buffer.alloc(1 + random.below(maxBytes), 1 + random.below(255));
    const apply = async (/** @type {Fs} */ { promises }) => {
      await promises.writeFile(`${path}-next`, next);
      await promises.rename(`${path}-next`, path);
    };
    return { next, apply };
  },
  store(path, was) {
    const { offset, length } = rangeIn(was.length);
    const next = Buffer.from(was).fill(random.below(256), offset, offset + length);
    const apply = async (/** @type {Fs} */ fs) => {
      const view = await fs.map(path, { mode: 'rw' });
      try {
        const { length: shown } = view.bytes;
        // As many as the file had at this node when it was opened; its size may be news that came since.
        if (shown < was.length) throw new Wrong(`${shown} of ${was.length} bytes can be stored into`);
        view.bytes.set(next.subarray(offset, offset + length), offset);
        if (again.size > 0) await view.sync();
      } finally {
        view.close();
      }
    };
    return { next, apply };
  },
};

/** What can be asked again when nobody knows whether it was done: not this. */
if (again.size === 0)
  ways.append = (path, was) => {
    const added = Buffer.alloc(1 + random.below(maxChange), random.below(256));
    const next = was.length > maxBytes ? was : Buffer.concat([was, added]);
    return { next, apply: ({ promises }) => promises.appendFile(path, next.subarray(was.length)) };
  };

/** After these another file has the name. */
const isOther = new Set(['remake', 'rename']);

/** @param {string} how @param {Buffer<ArrayBufferLike>} content @param {Uint8Array} got */
function compare(how, content, got) {
  const at = content.findIndex((byte, i) => byte !== got[i]);
  if (at >= 0 || got.length !== content.length)
    throw new Wrong(`${how}: ${got.length} of ${content.length} bytes, wrong from ${at} on`);
}

/** A view that lasts. @typedef {{ fs: Fs, view: import('cluster-fs').View }} Kept */

/** What fills a hole comes a moment later (docs/leases.md). @param {Kept} kept @param {Buffer} content */
async function shows({ fs, view }, content) {
  const isSeated = () => [...seats.values()].some((seat) => seat.fs === fs);
  const wrongAt = () => (isSeated() ? view.bytes.findIndex((byte, i) => byte !== (content[i] ?? 0)) : -1);
  if (wrongAt() >= 0) await sleep(swapMs);
  return wrongAt();
}

/** @param {string} path */
async function change(path) {
  /** @type {Kept[]} */
  const kept = [];
  /** @type {Buffer} */
  let content = Buffer.alloc(1 + random.below(maxBytes), 7);
  await anywhere(`create ${path}`, ({ promises }) => promises.writeFile(path, content));
  for (let i = 0; i < Number(changes) && findings.length === 0; i++) {
    const [name, way] = random.pick(Object.entries(ways));
    const what = `${path}, change ${i}, ${name}`;
    const { next, apply } = way(path, content);
    // A file without a name goes with its node.
    if (isOther.has(name)) for (const { view } of kept.splice(0)) view.close();
    await anywhere(what, apply);
    content = next;
    await anywhere(`${what}, then read`, async (fs) => {
      compare(`${what}, read`, content, await fs.promises.readFile(path));
    });
    await anywhere(`${what}, then map`, async (fs) => {
      const view = await fs.map(path);
      compare(`${what}, view`, content, view.bytes);
      view.close();
    });
    for (const each of kept) {
      const at = await shows(each, content);
      if (at >= 0) findings.push(`${what}, a view of before: wrong from ${at} on`);
    }
    if (kept.length < mostKept && random.happens(0.2))
      await anywhere(`${what}, then keep`, async (fs) => void kept.push({ fs, view: await fs.map(path) }));
    made++;
    progress.emit('change');
  }
  for (const { view } of kept) view.close();
}

for (const url of urls) await sit(url);
process.on('message', async (/** @type {Order} */ order) => {
  await (order.isThere ? sit(order.url) : rise(order.url));
  for (const goal = made + order.changes; made < goal && !isOver; ) await once(progress, 'change');
  process.send?.({ kind: 'done' });
});
process.send?.({ kind: 'ready' });
await Promise.all(Array.from({ length: files }, (_, file) => change(`/file-${file}`)));
isOver = true;
progress.emit('change');
process.send?.({ kind: 'changed', findings });
