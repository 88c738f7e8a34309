/**
 * What is done while the recorder looks on: every operation that a store can tell, synced and not. Each step
 * says what it does to the model, so each asks the node for one change.
 */
import type { ClusterFs } from 'cluster-fs';
import type { NodeProcess } from '../chaos/node-process.ts';
import type { FsModel } from './durable-model.ts';

export interface CutStep {
  readonly name: string;
  run(fs: ClusterFs, node: NodeProcess): Promise<unknown>;
  model?(model: FsModel): void;
  /** What is durable when it is answered. */
  readonly synced?: 'all' | readonly string[];
  /** The node goes, and the mount with it; what was in memory goes too when power is lost. */
  readonly ends?: 'killed' | 'stopped' | 'power lost';
}

const page = 4096;
/** Bytes that say what they are; no page of them is zeros. */
const bytes = (what: string, size: number): Buffer => Buffer.alloc(size, `${what};`);
const small = 3000;
const middle = 5 * page - 100;
/** More than the redo log takes. */
const large = 21 * page + 7;

const put = (path: string, content: Buffer): CutStep => ({
  name: `put ${path}`,
  run: (fs) => fs.promises.writeFile(path, content),
  model: (m) => m.put(path, content),
});

const write = (path: string, offset: number, content: Buffer): CutStep => ({
  name: `write ${path} at ${offset}`,
  run: async (fs) => {
    const handle = await fs.promises.open(path, 'r+');
    await handle.write(content, 0, content.length, offset);
    await handle.close();
  },
  model: (m) => m.write(path, offset, content),
});

const truncate = (path: string, size: number): CutStep => ({
  name: `truncate ${path} to ${size}`,
  run: (fs) => fs.promises.truncate(path, size),
  model: (m) => m.truncate(path, size),
});

const rename = (from: string, to: string): CutStep => ({
  name: `rename ${from} to ${to}`,
  run: (fs) => fs.promises.rename(from, to),
  model: (m) => m.rename(from, to),
});

const unlink = (path: string): CutStep => ({
  name: `unlink ${path}`,
  run: (fs) => fs.promises.unlink(path),
  model: (m) => m.remove(path),
});

const syncFile = (path: string, how: 'sync' | 'datasync' = 'sync'): CutStep => ({
  name: `${how} ${path}`,
  run: async (fs) => {
    const handle = await fs.promises.open(path);
    await handle[how]();
    await handle.close();
  },
  synced: [path],
});

const sync: CutStep = { name: 'sync', run: (fs) => fs.sync(), synced: 'all' };

const zero = (how: 'punchHole' | 'zeroRange', path: string, offset: number, length: number): CutStep => ({
  name: `${how} ${path} at ${offset}`,
  run: (fs) => fs.promises[how](path, offset, length),
  model: (m) => m.write(path, offset, Buffer.alloc(length)),
});

const allocate = (path: string, size: number): CutStep => ({
  name: `allocate ${path} to ${size}`,
  run: (fs) => fs.promises.allocate(path, 0, size),
  model: (m) => m.truncate(path, size),
});

/** Stores through a view, which tells nobody. */
const storeByView = (path: string, offset: number, content: Buffer): CutStep => ({
  name: `store into ${path} at ${offset}`,
  run: async (fs) => {
    const view = await fs.map(path, { mode: 'rw' });
    view.bytes.set(content, offset);
    await view.sync();
    view.close();
  },
  model: (m) => m.write(path, offset, content),
  synced: [path],
});

/** It goes when it is closed, which is a step of its own. */
function unlinkOpen(path: string): [CutStep, CutStep] {
  let close = async (): Promise<void> => undefined;
  const unlinked: CutStep = {
    name: `unlink ${path}, which is open`,
    run: async (fs) => {
      const handle = await fs.promises.open(path, 'r+');
      close = () => handle.close();
      await fs.promises.unlink(path);
      await handle.write(bytes('nobody sees it', large), 0, large, 0);
    },
    model: (m) => m.remove(path),
  };
  return [unlinked, { name: `close ${path}`, run: () => close() }];
}

const other = (name: string, run: CutStep['run'], model?: CutStep['model']): CutStep =>
  model === undefined ? { name, run } : { name, run, model };

/** What is in files. */
export const contents: readonly CutStep[] = [
  put('/small', bytes('first', small)),
  put('/never', bytes('never synced', middle)),
  put('/empty', Buffer.alloc(0)),
  syncFile('/small'),
  put('/small', bytes('second', middle)),
  put('/large', bytes('large', large)),
  syncFile('/large', 'datasync'),
  write('/large', page + 10, bytes('in place', 3 * page)),
  syncFile('/small'),
  write('/large', large, bytes('appended', large)),
  sync,
  put('/large', bytes('shorter', large)),
  truncate('/small', 100),
  syncFile('/large'),
  truncate('/small', 2 * page),
  truncate('/large', 3 * page + 1),
  sync,
  zero('punchHole', '/large', page, page),
  zero('zeroRange', '/small', 10, 100),
  syncFile('/small', 'datasync'),
  write('/large', 0, bytes('again', 100)),
  allocate('/large', 8 * page),
  syncFile('/large'),
  zero('zeroRange', '/large', 0, 4 * page),
  zero('punchHole', '/small', 0, 2 * page),
  sync,
];

/** Their names. */
export const names: readonly CutStep[] = [
  other(
    'mkdir /dir',
    (fs) => fs.promises.mkdir('/dir'),
    (m) => m.mkdir('/dir'),
  ),
  put('/dir/a', bytes('a', middle)),
  put('/dir/b', bytes('b', large)),
  put('/dir/c', bytes('c', small)),
  syncFile('/dir/a'),
  other(
    'symlink',
    (fs) => fs.promises.symlink('dir/a', '/to-a'),
    (m) => m.symlink('dir/a', '/to-a'),
  ),
  other(
    'link',
    (fs) => fs.promises.link('/dir/a', '/second'),
    (m) => m.link('/dir/a', '/second'),
  ),
  other(
    'chmod',
    (fs) => fs.promises.chmod('/dir/a', 0o600),
    (m) => m.chmod('/dir/a', 0o600),
  ),
  rename('/dir/a', '/dir/moved'),
  syncFile('/dir/b'),
  rename('/dir/c', '/dir/b'),
  put('/new', bytes('new', large)),
  rename('/new', '/dir/moved'),
  write('/second', 0, bytes('by its second name', 500)),
  unlink('/dir/moved'),
  sync,
  put('/gone', bytes('gone', large)),
  syncFile('/gone'),
  unlink('/gone'),
  // The places of what is gone, as soon as they are free.
  put('/after', bytes('after', large)),
  sync,
  put('/later', bytes('later', large)),
  syncFile('/later'),
  other(
    'mkdir /dir/sub',
    (fs) => fs.promises.mkdir('/dir/sub'),
    (m) => m.mkdir('/dir/sub'),
  ),
  rename('/dir/sub', '/sub'),
  other(
    'rmdir /sub',
    (fs) => fs.promises.rmdir('/sub'),
    (m) => m.remove('/sub'),
  ),
  put('/dir/b', bytes('b again', middle)),
  rename('/dir', '/renamed'),
  sync,
  put('/held', bytes('held', middle)),
  sync,
  ...unlinkOpen('/held'),
  other(
    'rm -r',
    (fs) => fs.promises.rm('/renamed', { recursive: true }),
    (m) => m.remove('/renamed'),
  ),
  syncFile('/second'),
  put('/target', bytes('target', small)),
  put('/source', bytes('source', large)),
  sync,
  put('/source', bytes('source again', large)),
  // Stored before it takes the name, and the log not flushed: a loss of power leaves what it was.
  rename('/source', '/target'),
  put('/next', bytes('next', large)),
  syncFile('/next'),
];

/** Where they lie. */
export const layouts: readonly CutStep[] = [
  put('/later', bytes('later', large)),
  put('/after', bytes('before', large)),
  sync,
  other('evict /later', (fs) => fs.evict('/later')),
  write('/later', 5 * page, bytes('after its eviction', 6000)),
  other('move /later', (fs) => fs.move('/later')),
  syncFile('/later'),
  put('/after', bytes('after', small)),
  other('defrag', (fs) => fs.defrag()),
  storeByView('/later', 100, bytes('by a view', 5000)),
  put('/late', bytes('late', middle)),
  storeByView('/after', 10, bytes('by a view', 100)),
  syncFile('/late'),
];

/** A node that goes: what was left in the log, and in places, by one that was not stopped. */
export const ends: readonly CutStep[] = [
  put('/later', bytes('later', middle)),
  put('/late', bytes('late', large)),
  put('/after', bytes('after', large)),
  put('/second', bytes('second', small)),
  put('/early', bytes('early', large)),
  sync,
  unlink('/early'),
  put('/unsynced', bytes('unsynced', large)),
  { name: 'kill', run: (_, node) => node.kill(), ends: 'killed' },
  put('/reuse', bytes('reuse', large)),
  syncFile('/reuse'),
  put('/over', bytes('over', large)),
  rename('/over', '/reuse'),
  unlink('/later'),
  { name: 'kill again', run: (_, node) => node.kill(), ends: 'killed' },
  put('/reuse', bytes('reuse again', large + page)),
  sync,
  put('/lost', bytes('lost', middle)),
  write('/after', 0, bytes('lost', 10)),
  unlink('/late'),
  { name: 'loss of power', run: (_, node) => node.kill(), ends: 'power lost' },
  put('/found', bytes('found', large)),
  sync,
  unlink('/second'),
  { name: 'stop', run: (_, node) => node.stop(), ends: 'stopped' },
  put('/last', bytes('last', large)),
  syncFile('/last'),
];

/** Small syncs, until each file of the log was full, and was begun anew. */
export const manySyncs: readonly CutStep[] = Array.from({ length: 60 }, (_, i) => [
  put(`/${i % 3}`, bytes(`version ${i}`, 16 * page)),
  syncFile(`/${i % 3}`),
]).flat();
