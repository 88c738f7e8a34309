/**
 * What a client of the soak does: for each operation, what is asked of the file system, and what it makes of
 * the model. Everything that is random is chosen before anything is done.
 *
 * @typedef {import('cluster-fs').ClusterFs} ClusterFs
 * @typedef {import('./files-model.mjs').FilesModel} FilesModel
 * @typedef {import('../random.mjs').Random} Random
 * @typedef {Awaited<ReturnType<ClusterFs['promises']['open']>>} Handle
 * @typedef {{ fs: ClusterFs, model: FilesModel, random: Random }} World
 *
 * @typedef {object} Step
 * @property {readonly string[]} paths  The names that it is about.
 * @property {() => Promise<unknown>} act
 * @property {() => void} [change]  What is so when it was answered.
 * @property {boolean} [isStepwise]  A loss of its answer may leave a part of it done.
 */
import { differenceOf } from './judge.mjs';

const pageSize = 4096;

/** Content that is not as the model says, met in the middle of an operation. */
export class Wrong extends Error {}

/**
 * Some bytes; here and there a page of zeros, which has no place in the store.
 *
 * @param {Random} random
 * @param {number} mostBytes
 */
function someBytes(random, mostBytes) {
  const bytes = Buffer.alloc(1 + random.below(mostBytes));
  let word = random.below(2 ** 32) | 1;
  for (let at = 0; at < bytes.length; at++) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    bytes[at] = word;
  }
  for (let at = 0; at < bytes.length; at += pageSize)
    if (random.happens(0.1)) bytes.subarray(at, at + pageSize).fill(0);
  return bytes;
}

/** Most files are small, and most of all bytes are in large ones. @param {Random} random */
const someContent = (random) => someBytes(random, random.happens(0.3) ? 2 ** 20 : 40_000);

/**
 * An operation on a file that is there and not empty; none when the name that was chosen has no such file.
 *
 * @param {(world: World & { path: string, bytes: Buffer }) => Step | undefined} operation
 * @returns {(world: World) => Step | undefined}
 */
const onFile = (operation) => (world) => {
  const path = world.model.usedName(world.random);
  const bytes = path === undefined ? undefined : world.model.bytesOf(path);
  if (path === undefined || bytes === undefined || bytes.length === 0) return undefined;
  return operation({ ...world, path, bytes });
};

/**
 * An operation that changes no content.
 *
 * @param {(fs: ClusterFs, path: string) => Promise<unknown>} ask
 */
const withoutChange = (ask) => onFile(({ fs, path }) => ({ paths: [path], act: () => ask(fs, path) }));

/**
 * @param {ClusterFs} fs
 * @param {string} path
 * @param {string} flags
 * @param {(handle: Handle) => Promise<unknown>} use
 */
async function withHandle(fs, path, flags, use) {
  const handle = await fs.promises.open(path, flags);
  try {
    await use(handle);
  } finally {
    await handle.close();
  }
}

/** @type {Record<string, (world: World) => Step | undefined>} */
const contentOperations = {
  writeFile({ fs, model, random }) {
    const path = model.anyName(random);
    const bytes = someContent(random);
    const act = () => fs.promises.writeFile(path, bytes);
    return { paths: [path], act, change: () => model.write(path, bytes) };
  },
  replace({ fs, model, random }) {
    const path = model.anyName(random);
    const bytes = someContent(random);
    const act = () => fs.replace(path, bytes);
    return { paths: [path], act, change: () => model.write(path, bytes) };
  },
  writeInPlace: onFile(({ fs, model, random, path, bytes }) => {
    const at = random.below(bytes.length);
    const part = someBytes(random, 70_000);
    const isSynced = random.happens(0.2);
    const act = () =>
      withHandle(fs, path, 'r+', async (handle) => {
        const { bytesWritten } = await handle.write(part, 0, part.length, at);
        if (bytesWritten !== part.length) throw new Wrong(`${path}: ${bytesWritten} of ${part.length} bytes`);
        if (isSynced) await handle.sync();
      });
    return { paths: [path], act, change: () => model.writeAt(path, part, at), isStepwise: true };
  }),
  append: onFile(({ fs, model, random, path, bytes }) => {
    const part = someBytes(random, 20_000);
    const act = () => fs.promises.appendFile(path, part);
    return { paths: [path], act, change: () => model.writeAt(path, part, bytes.length), isStepwise: true };
  }),
  truncate: onFile(({ fs, model, random, path, bytes }) => {
    const size = random.below(Math.ceil(bytes.length * 1.4));
    const act = () => fs.promises.truncate(path, size);
    return { paths: [path], act, change: () => model.resize(path, size) };
  }),
  punchHole: onFile(({ fs, model, random, path, bytes }) => {
    const at = random.below(bytes.length);
    const length = 1 + random.below(bytes.length - at);
    const act = () => fs.promises.punchHole(path, at, length);
    const change = () => model.writeAt(path, Buffer.alloc(length), at);
    // Pages are freed with a commit, and what is not a whole page is zeroed in place.
    return { paths: [path], act, change, isStepwise: true };
  }),
  zeroRange: onFile(({ fs, model, random, path, bytes }) => {
    const at = random.below(bytes.length);
    const length = 1 + random.below(100_000);
    const keepSize = random.happens(0.5);
    const inFile = keepSize ? Math.min(length, bytes.length - at) : length;
    const act = () => fs.promises.zeroRange(path, at, length, { keepSize });
    const change = () => model.writeAt(path, Buffer.alloc(inFile), at);
    return { paths: [path], act, change, isStepwise: true };
  }),
  storeThroughView: onFile(({ fs, model, random, path, bytes }) => {
    const stores = Array.from({ length: 20 }, () => ({
      at: random.below(bytes.length),
      byte: random.below(256),
    }));
    const after = Buffer.from(bytes);
    for (const { at, byte } of stores) after[at] = byte;
    const isSynced = random.happens(0.3);
    const act = async () => {
      const view = await fs.map(path, { mode: 'rw' });
      try {
        for (const { at, byte } of stores) {
          view.bytes[at] = byte;
          if (at % 6 === 0) await new Promise((goOn) => setImmediate(goOn));
        }
        expectSame(path, view.bytes, after);
        if (isSynced) await view.sync();
      } finally {
        view.close();
      }
    };
    return { paths: [path], act, change: () => model.write(path, after), isStepwise: true };
  }),
};

/** @type {Record<string, (world: World) => Step | undefined>} */
const nameOperations = {
  rename: onFile(({ fs, model, random, path }) => {
    const to = model.anyName(random);
    const act = () => fs.promises.rename(path, to);
    return { paths: [path, to], act, change: () => model.rename(path, to) };
  }),
  link: onFile(({ fs, model, random, path }) => {
    const to = model.anyName(random);
    if (model.fileOf(to) !== undefined) return undefined;
    const act = () => fs.promises.link(path, to);
    return { paths: [path, to], act, change: () => model.link(path, to) };
  }),
  unlink: onFile(({ fs, model, path }) => {
    const act = () => fs.promises.unlink(path);
    return { paths: [path], act, change: () => model.unlink(path) };
  }),
  copyFile: onFile(({ fs, model, random, path, bytes }) => {
    const to = model.anyName(random);
    const act = () => fs.promises.copyFile(path, to);
    return { paths: [path, to], act, change: () => model.write(to, bytes) };
  }),
};

/** @type {Record<string, (world: World) => Step | undefined>} */
const looks = {
  read: onFile(({ fs, random, path, bytes }) => {
    const isSynchronous = random.happens(0.3);
    const act = async () =>
      expectSame(path, isSynchronous ? fs.readFileSync(path) : await fs.promises.readFile(path), bytes);
    return { paths: [path], act };
  }),
  readThroughView: onFile(({ fs, path, bytes }) => {
    const act = async () => {
      const view = await fs.map(path);
      try {
        expectSame(path, view.bytes, bytes);
      } finally {
        view.close();
      }
    };
    return { paths: [path], act };
  }),
};

/** @type {Record<string, (world: World) => Step | undefined>} */
const residence = {
  sync: withoutChange((fs, path) => fs.sync(path)),
  syncHandle: withoutChange((fs, path) => withHandle(fs, path, 'r', (handle) => handle.sync())),
  evict: withoutChange((fs, path) => fs.evict(path)),
  prefetch: withoutChange((fs, path) => fs.prefetch(path)),
  move: withoutChange((fs, path) => fs.move(path)),
  // Not for longer: together with what it grows to, what is pinned could fill the memory.
  pin: onFile(({ fs, path, bytes }) => {
    const act = async () => {
      await fs.pin(path);
      const { id } = fs.session;
      const evicted = await fs.evict(path);
      // A node that came meanwhile knows of no pin.
      if (evicted > 0 && id === fs.session.id)
        throw new Wrong(`${path}: pinned, and ${evicted} bytes of it were evicted`);
      expectSame(path, await fs.promises.readFile(path), bytes);
      await fs.unpin(path);
    };
    return { paths: [path], act };
  }),
};

export const operations = { ...contentOperations, ...nameOperations, ...looks, ...residence };

/** @param {string} path @param {Uint8Array} found @param {Buffer} wanted */
function expectSame(path, found, wanted) {
  const difference = differenceOf(found, wanted);
  if (difference !== undefined) throw new Wrong(`${path}: ${difference}`);
}
