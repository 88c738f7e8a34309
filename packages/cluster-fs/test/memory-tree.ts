/** A small tree in a segment in this process's memory, and the backend that a file API needs to read it. */
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { type Extent, FsError, type Run } from '@cluster-fs/transport';
import type { Backend } from '../src/fs/backend.ts';
import {
  type Credentials,
  DirectorySlots,
  fileType,
  formatSegment,
  freeChain,
  geometryFor,
  insertDirent,
  layout,
  pageSize,
  removeDirent,
  retargetDirent,
  rootIno,
  type Segment,
  SegmentWriter,
  setExtents,
  setText,
  walk,
} from '../src/segment/index.ts';

const pages = 256;
const root: Credentials = { uid: 0, gids: [0] };

/** Changes are made in a working copy and published, as the coordinator does it. */
export class MemoryTree {
  readonly published: Segment;
  readonly dataFd: number;
  readonly #writer: SegmentWriter;
  readonly #slots = new DirectorySlots();
  readonly #directory: string;

  constructor() {
    const geometry = geometryFor({ dataSize: pages * pageSize, inodeCount: 1024 });
    const format = () =>
      formatSegment(new ArrayBuffer(geometry.metaSize), {
        geometry,
        id: Buffer.from('0123456789abcdef'),
        epoch: 1,
        nowMs: 0,
        nodePid: 1,
      });
    this.published = format();
    this.#writer = new SegmentWriter(format());
    this.#directory = mkdtempSync(`${tmpdir()}/cluster-fs-test-`);
    this.dataFd = openSync(`${this.#directory}/data`, 'w+');
    writeSync(this.dataFd, Buffer.alloc(pages * pageSize));
    this.#makeInode(fileType.directory | 0o755, rootIno);
    this.#publish();
  }

  close(): void {
    closeSync(this.dataFd);
    rmSync(this.#directory, { recursive: true });
  }

  mkdir(path: string, mode = 0o755): number {
    const ino = this.#add(path, fileType.directory | mode);
    this.#publish();
    return ino;
  }

  symlink(target: string, path: string): void {
    const ino = this.#add(path, fileType.symlink | 0o777);
    setText(this.#writer, ino, Buffer.from(target));
    this.#publish();
  }

  /** A file whose page n lies in page `at[n]` of `data`; undefined is a hole. */
  file(path: string, content: Buffer, at: readonly (number | undefined)[], mode = 0o644): number {
    const ino = this.#add(path, fileType.file | mode);
    this.store(ino, content, at);
    return ino;
  }

  /** Gives a file new content in new places. */
  store(ino: number, content: Buffer, at: readonly (number | undefined)[]): void {
    const extents: Extent[] = [];
    for (const [filePage, page] of at.entries()) {
      if (page === undefined) continue;
      extents.push({ filePage, page, count: 1 });
      const bytes = content.subarray(filePage * pageSize, (filePage + 1) * pageSize);
      writeSync(this.dataFd, bytes, 0, bytes.length, page * pageSize);
    }
    setExtents(this.#writer, ino, extents);
    const record = this.#writer.touchInode(ino);
    record.size = content.length;
    record.layoutVersion += 1;
    this.#publish();
  }

  /** What grows the file or touches its times moves the guard and not the layout. */
  touch(ino: number): void {
    this.#writer.touchInode(ino).mtimeMs += 1;
    this.#publish();
  }

  remove(path: string): void {
    const { parent, name, ino } = this.#find(path);
    removeDirent(this.#writer, this.#slots, parent, name);
    freeChain(this.#writer, ino);
    this.#writer.freeInode(ino);
    this.#publish();
  }

  /** Gives `from` the name `to`, in the place of what had it. */
  rename(from: string, to: string): void {
    const source = this.#find(from);
    const target = this.#find(to);
    const type = this.#writer.inode.at(this.published.inodeOffset + source.ino * layout.inode.size).mode;
    const entry = { parent: target.parent, name: target.name, ino: source.ino, type: type & fileType.mask };
    if (target.ino === 0) insertDirent(this.#writer, this.#slots, entry);
    else {
      retargetDirent(this.#writer, entry);
      this.#writer.freeInode(target.ino);
    }
    removeDirent(this.#writer, this.#slots, source.parent, source.name);
    this.#publish();
  }

  chmod(path: string, mode: number): void {
    const { ino } = this.#find(path);
    const record = this.#writer.touchInode(ino);
    record.mode = (record.mode & fileType.mask) | mode;
    this.#writer.count('rightsVersion', 1);
    this.#publish();
  }

  #add(path: string, mode: number): number {
    const { parent, name } = this.#find(path);
    const ino = this.#makeInode(mode, parent);
    insertDirent(this.#writer, this.#slots, { parent, name, ino, type: mode & fileType.mask });
    return ino;
  }

  #makeInode(mode: number, parent: number): number {
    const ino = this.#writer.takeInode();
    if (ino === undefined) throw new Error('the table is full');
    const directory = (mode & fileType.mask) === fileType.directory;
    const fields = {
      mode,
      nlink: directory ? 2 : 1,
      parent: directory ? parent : 0,
      mtimeMs: 1.5,
      layoutVersion: 1,
    };
    Object.assign(this.#writer.touchInode(ino), fields);
    return ino;
  }

  #find(path: string) {
    return walk(this.#writer.segment, path, { follow: false, syscall: 'test' });
  }

  #publish(): void {
    this.#writer.publish(this.published);
  }
}

/** Of a thread that knows the segment of now. */
export const freeAccess: Backend['access'] = {
  begin: () => true,
  end: () => undefined,
  pooled: () => undefined,
  renewed: () => undefined,
};

/** A backend that reads `tree`; `replace` says what is special about it. */
export function backendOf(tree: MemoryTree, replace: Partial<Backend> = {}): Backend {
  const refuse = (): never => {
    throw new Error('a read asked the node');
  };
  const backend: Backend = {
    segment: tree.published,
    dataFd: tree.dataFd,
    readOnly: false,
    credentials: root,
    incarnation: 1,
    assertUsable: () => undefined,
    request: refuse,
    event: refuse,
    fetchPages: refuse,
    fetchPagesNow: refuse,
    takePages: refuse,
    givePages: refuse,
    subscribe: refuse,
    access: freeAccess,
  };
  return Object.defineProperties(backend, Object.getOwnPropertyDescriptors(replace));
}

/** Hands out pages from `first` on, and counts what came back. */
export function pageSource(
  first: number,
): Pick<Backend, 'takePages' | 'givePages'> & { readonly given: Run[] } {
  let next = first;
  const given: Run[] = [];
  return {
    given,
    takePages: (count) => {
      if (next + count > pages) throw new FsError('ENOSPC', 'write');
      next += count;
      return [{ page: next - count, count }];
    },
    givePages: (runs) => given.push(...runs),
  };
}
