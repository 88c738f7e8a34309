// An application that mounts a cluster and does what its parent asks, one call at a time. Plain JavaScript
// without a loader: what it measures of itself, memory above all, is what an application has.
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let fs;
let view;
let control;
let contents;
let visit;

const pageSize = 4096;
const rssKib = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
const pssKib = (text) => Number(/^Pss:\s+(\d+)/m.exec(text)[1]);

async function perform(operation, args) {
  try {
    return { value: await operations[operation](...args) };
  } catch (error) {
    return { error };
  }
}

/** One byte of every page. */
function touch(bytes) {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += pageSize) sum += bytes[at];
  return sum;
}

/** Proportional set size of the view's mappings: what is shared by n processes counts 1/n in each. */
function pssOfView() {
  const start = view.address;
  const end = start + Math.ceil(view.bytes.length / pageSize) * pageSize;
  let sum = 0;
  for (const mapping of readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const [from, to] = mapping
      .split(' ', 1)[0]
      .split('-')
      .map((address) => Number.parseInt(address, 16));
    if (from >= start && to <= end) sum += pssKib(mapping);
  }
  return sum;
}

const operations = {
  async mount(url) {
    const before = rssKib();
    const { mount } = await import('cluster-fs');
    fs = await mount(url);
    return { before, after: rssKib() };
  },
  rss: rssKib,
  async map(path, options) {
    const began = performance.now();
    view = await fs.map(path, options);
    return performance.now() - began;
  },
  touch: () => touch(view.bytes),
  unmap: () => view.close(),
  pss: () => ({ view: pssOfView(), all: pssKib(readFileSync('/proc/self/smaps_rollup', 'utf8')) }),

  /** What a process does that maps nothing: it reads the file. */
  async read(path) {
    const began = performance.now();
    contents = await readFile(path);
    const ms = performance.now() - began;
    touch(contents);
    return ms;
  },
  pssAll: () => pssKib(readFileSync('/proc/self/smaps_rollup', 'utf8')),
  /** The second collection waits for what the first one left to a thread of its own. */
  forget: () => {
    contents = undefined;
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc');
    collect();
    collect();
  },

  /** Receives `length` bytes from a socket, as a process that is sent a copy. */
  receive: (path, length) =>
    new Promise((resolve, reject) => {
      const target = Buffer.allocUnsafeSlow(length);
      let at = 0;
      const socket = connect({
        path,
        onread: {
          buffer: Buffer.allocUnsafeSlow(1 << 20),
          callback: (count, chunk) => {
            chunk.copy(target, at, 0, count);
            at += count;
            if (at >= length) {
              socket.destroy();
              resolve(touch(target));
            }
            return true;
          },
        },
      });
      socket.on('error', reject);
    }),

  /** Writes over a file from its begin to its end, again and again, a piece at a time, at a steady pace. */
  async pour(path, { size, piece, everyMs, forMs }) {
    const file = await fs.promises.open(path, fs.existsSync(path) ? 'r+' : 'w+');
    const bytes = Buffer.alloc(piece, 1);
    const began = performance.now();
    let pieces = 0;
    while (performance.now() - began < forMs) {
      await file.write(bytes, 0, piece, (pieces * piece) % size);
      pieces++;
      const aheadMs = pieces * everyMs - (performance.now() - began);
      if (aheadMs > 0) await new Promise((resolve) => setTimeout(resolve, aheadMs));
    }
    await file.close();
    return pieces;
  },

  /** Touches a random page of a view every millisecond, or stores into one, until `leave`. */
  async visit(path, { mode, pages }) {
    const target = await fs.map(path, { mode });
    const words = new Int32Array(target.buffer);
    let longestMs = 0;
    let random = 1;
    const timer = setInterval(() => {
      random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
      const at = (random % pages) * 1024;
      const began = performance.now();
      if (mode === 'r') Atomics.load(words, at);
      else Atomics.add(words, at, 1);
      longestMs = Math.max(longestMs, performance.now() - began);
    }, 1);
    visit = {
      restart: () => {
        longestMs = 0;
      },
      longestMs: () => longestMs,
      leave: () => {
        clearInterval(timer);
        target.close();
      },
    };
  },
  /** How long it was held up at most, from here on until `longestMs`. */
  restart: () => visit.restart(),
  longestMs: () => visit.longestMs(),
  leave: () => visit.leave(),

  /**
   * Stores into random pages of a view and never returns to the event loop, until the first word of /control
   * says so.
   * Tells how long it was held up since the third word was set.
   */
  async write(path) {
    const target = await fs.map(path, { mode: 'rw' });
    control ??= await fs.map('/control', { mode: 'rw' });
    const words = new Int32Array(target.buffer);
    const stop = new Int32Array(control.buffer);
    const pages = words.length / 1024;
    let stores = 0;
    let longestMs = 0;
    let heldMs = 0;
    let random = 1;
    // Says that it runs.
    Atomics.store(stop, 1, 1);
    let last = performance.now();
    // Not for ever: the parent may have died meanwhile.
    const end = last + 60_000;
    while (Atomics.load(stop, 0) === 0 && last < end) {
      random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
      words[(random % pages) * 1024] += 1;
      stores++;
      const now = performance.now();
      if (Atomics.load(stop, 2) === 1) {
        longestMs = Math.max(longestMs, now - last);
        if (now - last > 0.1) heldMs += now - last;
      }
      last = now;
    }
    target.close();
    return { stores, longestMs, heldMs };
  },
};

process.on('message', async ({ id, operation, args }) => {
  const answer = await perform(operation, args);
  if (process.connected) process.send({ id, ...answer });
});
process.once('disconnect', () => fs?.unmount());
