/** Starts a node on the files that a loss of power has left, in this process, and reads all there is. */
import { readSync, rmSync } from 'node:fs';
import type { ClusterNode } from '@cluster-fs/node';
import {
  checkSegment,
  InodeCopy,
  isDirectory,
  isFile,
  listDirectory,
  pageSize,
  readExtents,
  readInode,
  readText,
  rootIno,
} from 'cluster-fs/segment';
import { nodeModule } from '../setups/node-modules.mjs';
import type { Found } from './durable-model.ts';
import { never } from './power.ts';

const { startNode }: typeof import('@cluster-fs/node') = await import(nodeModule(process.execArgv));

export interface Reopened {
  readonly found: Found;
  /** What is not as it must be, whatever was written. */
  readonly findings: readonly string[];
}

/** `directory` has the store; beside it there is room for the node. */
export async function reopen(directory: string): Promise<Reopened> {
  const errors: string[] = [];
  const runDirectory = `${directory}-run`;
  const node = startNode({
    socketPath: `${directory}.sock`,
    runDirectory,
    store: directory,
    memory: 2 ** 22,
    inodeCount: 64,
    writeBackMs: never,
    onError: (error) => errors.push(String(error)),
    onNotice: () => undefined,
  });
  try {
    const files = new Map<string, { kind: 'file' | 'directory' | 'symlink'; mode: number; bytes: Buffer }>();
    readTree(node, { ino: rootIno, path: '' }, files);
    const findings = [...checkNode(node), ...checkStore(node), ...errors];
    return { found: files, findings };
  } finally {
    await node.stop();
    rmSync(runDirectory, { recursive: true, force: true });
  }
}

type Files = Map<string, { kind: 'file' | 'directory' | 'symlink'; mode: number; bytes: Buffer }>;

function readTree(node: ClusterNode, at: { ino: number; path: string }, into: Files): void {
  const { segment } = node.coordinator;
  for (const { name, ino } of listDirectory(segment, at.ino)) {
    const inode = new InodeCopy();
    const path = `${at.path}/${name}`;
    if (!readInode(segment, ino, inode)) throw new Error(`${path} names no inode`);
    const mode = inode.mode & 0o7777;
    if (isDirectory(inode.mode)) {
      into.set(path, { kind: 'directory', mode, bytes: Buffer.alloc(0) });
      readTree(node, { ino, path }, into);
    } else if (isFile(inode.mode)) into.set(path, { kind: 'file', mode, bytes: contentOf(node, ino, path) });
    else into.set(path, { kind: 'symlink', mode, bytes: Buffer.from(readText(segment, ino, inode)) });
  }
}

function contentOf({ coordinator: c }: ClusterNode, ino: number, path: string): Buffer {
  const { size } = c.inode(ino);
  const count = Math.ceil(size / pageSize);
  try {
    c.pager?.fetchNow(ino, { from: 0, count });
  } catch (error) {
    throw new Error(`${path} cannot be read: ${String(error)}`);
  }
  const bytes = Buffer.alloc(count * pageSize);
  for (const { filePage, page, count: pages } of readExtents(c.segment, ino, new InodeCopy())) {
    if (filePage + pages <= count)
      readSync(c.data.fd, bytes, filePage * pageSize, pages * pageSize, page * pageSize);
  }
  return bytes.subarray(0, size);
}

const checkNode = ({ coordinator: { segment, orphans, writer } }: ClusterNode): string[] =>
  checkSegment(segment, { runs: [], orphans, inodeLimit: writer.inodeLimit });

/** The invariants of docs/store.md: each place of one page, each page as its sum says, nothing left over. */
function checkStore({ coordinator: { store, writeBack, segment, writer } }: ClusterNode): string[] {
  const findings: string[] = [];
  const owners = new Map<number, number>();
  for (const { page: first, count } of store.storedPlaces())
    for (let place = first; place < first + count; place++) {
      if (place === 0 || owners.has(place)) findings.push(`place ${place} has two owners`);
      owners.set(place, place);
    }
  let placed = 0;
  for (let ino = 1; ino < writer.inodeLimit; ino++) {
    const stored = store.stored(ino);
    const inode = new InodeCopy();
    const isThere = readInode(segment, ino, inode) && isFile(inode.mode);
    if (stored.length > 0 && !isThere) findings.push(`inode ${ino} is stored and not there`);
    const durable = store.durable(ino);
    if (stored.length > 0 && durable?.generation !== inode.generation)
      findings.push(`inode ${ino} is stored and not durable`);
    for (const e of stored) {
      placed += e.count;
      const bad = writeBack?.file.damagedOf(e) ?? [];
      if (bad.length > 0) findings.push(`inode ${ino}: pages ${bad} are damaged`);
    }
  }
  if (placed !== owners.size) findings.push(`${owners.size} places, ${placed} of files`);
  if (store.dirty().length > 0) findings.push(`${store.dirty().length} are dirty that nobody has changed`);
  return findings;
}
