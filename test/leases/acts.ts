/** What is done to a file under a view, for each case of the table, and the file and the view. */
import type { ClusterFs, SparseHandle, View } from 'cluster-fs';
import { expect, onTestFinished } from 'vitest';
import type { CaseName, Kind } from './cases.ts';

export const page = 4096;
export const filePages = 8;
export const viewPages = 12;
/** The range that operations work on. */
export const [from, length] = [2 * page, 2 * page];
export const path = '/case';

type Handle = Awaited<ReturnType<ClusterFs['promises']['open']>>;
export type FileHandle = Handle & SparseHandle;

export interface Act {
  run(fs: ClusterFs, handle: FileHandle): Promise<unknown>;
  /** The content after it; `old` is a copy. */
  after(old: Buffer): Buffer;
  /** What is done to the file before anybody maps it. */
  before?(handle: FileHandle): Promise<unknown>;
  /** A byte of the file that a view can store into afterwards; by default the first of the range. */
  readonly storeAt?: number;
}

const zeroed = (old: Buffer) => old.fill(0, from, from + length);
const same = (old: Buffer) => old;
const lastPage = (filePages - 1) * page;

const punched = (handle: FileHandle) => handle.punchHole(from, length);

const write: Act = {
  run: (_, handle) => handle.write(Buffer.alloc(length, 3), 0, length, from),
  after: (old) => old.fill(3, from, from + length),
};

const replace: Act = {
  run: (fs) => fs.promises.writeFile(path, Buffer.alloc(filePages * page, 2)),
  after: (old) => old.fill(2),
};

export const acts: Readonly<Record<CaseName, Act>> = {
  punch: { run: (_, handle) => handle.punchHole(from, length), after: zeroed },
  punchPart: {
    run: (_, handle) => handle.punchHole(from + 10, 100),
    after: (old) => old.fill(0, from + 10, from + 110),
  },
  zero: { run: (_, handle) => handle.zeroRange(from, length), after: zeroed },
  allocate: {
    before: punched,
    run: (_, handle) => handle.allocate(from, length),
    after: same,
  },
  cut: {
    run: (fs) => fs.promises.truncate(path, from),
    after: (old) => old.subarray(0, from),
    storeAt: 0,
  },
  cutPart: {
    run: (_, handle) => handle.truncate(lastPage + 100),
    after: (old) => old.subarray(0, lastPage + 100),
  },
  grow: {
    run: (_, handle) => handle.truncate(viewPages * page),
    after: (old) => Buffer.concat([old, Buffer.alloc((viewPages - filePages) * page)]),
    storeAt: (viewPages - 1) * page,
  },
  write,
  writeHole: { ...write, before: punched },
  replace,
  replaceHole: { ...replace, before: punched },
  unlink: { run: (fs) => fs.promises.unlink(path), after: same },
  rename: {
    run: (fs) => fs.promises.rename(path, '/renamed'),
    after: same,
  },
  renameOver: {
    run: async (fs) => {
      await fs.promises.writeFile('/other', Buffer.alloc(filePages * page, 9));
      await fs.promises.rename('/other', path);
    },
    after: same,
  },
  move: { run: (fs) => fs.move(path), after: same },
  evict: { run: (fs) => fs.evict(path), after: same },
};

interface Arranged {
  readonly old: Buffer;
  readonly handle: FileHandle;
  readonly view: View;
  close(): Promise<void>;
}

interface Mounts {
  readonly fs: ClusterFs;
  /** Whose view it is. */
  readonly holder: ClusterFs;
  /** The file is taken out of memory before the operation, as far as it can be. */
  readonly isEvicted?: boolean;
}

/** The file as it is before the operation, open, and the view on it. */
export async function arrange(
  { fs, holder, isEvicted = false }: Mounts,
  { before }: Act,
  { follow, mode }: Omit<Kind, 'client'>,
): Promise<Arranged> {
  await fs.promises.writeFile(path, Buffer.alloc(filePages * page, 1));
  const handle: FileHandle = await fs.promises.open(path, 'r+');
  await before?.(handle);
  const old = await contentOf(handle);
  const view = await holder.map(path, { follow, mode, reserve: viewPages * page });
  if (isEvicted) await fs.evict(path);
  const close = async (): Promise<void> => {
    view.close();
    await handle.close();
    for (const name of fs.readdirSync('/')) await fs.promises.rm(`/${name}`);
    await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
    expect(await fs.check()).toEqual([]);
  };
  onTestFinished(async ({ task }) => {
    if (task.result?.state === 'fail') await close().catch(() => undefined);
  });
  return { old, handle, view, close };
}

export async function contentOf(handle: FileHandle): Promise<Buffer> {
  const content = Buffer.alloc(viewPages * page);
  const { bytesRead } = await handle.read(content, 0, content.length, 0);
  return content.subarray(0, bytesRead);
}
