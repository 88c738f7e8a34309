/** Names, links and extents against each other. */
import { rootIno } from 'cluster-fs/segment';
import { printable } from '../commands/output.ts';
import { changeInode, type Finding, type InodeFacts, isType, type NameRow, type Rows } from './rows.ts';

const pageSize = 4096;

export function* checkTree(rows: Rows): Generator<Finding> {
  if (!isType(rows.inodes.get(rootIno), 'directory')) {
    yield { line: 'the root directory is not there' };
    return;
  }
  for (const row of rows.names) yield* checkName(rows, row);
  const below = directoriesIn(rows);
  for (const inode of rows.inodes.values()) yield* checkInode(rows, inode, below);
  yield* checkReach(rows);
  yield* checkExtents(rows);
}

function* checkName({ db, inodes, where }: Rows, { parent, name, ino }: NameRow): Generator<Finding> {
  const text = `'${printable(name)}' in ${where(parent)}`;
  const mend = {
    line: `removed the name ${text}`,
    run: () => db.prepare('DELETE FROM dirent WHERE parent = ? AND name = ?').run(parent, name),
  };
  if (!isType(inodes.get(parent), 'directory'))
    yield { line: `${text}: inode ${parent} is no directory`, mend };
  else if (!inodes.has(ino)) yield { line: `${text}: names inode ${ino}, which is not there`, mend };
}

/** How many directories each directory has in it. */
function directoriesIn({ inodes, names }: Rows): Map<number, number> {
  const below = new Map<number, number>();
  for (const { parent, ino } of names)
    if (isType(inodes.get(ino), 'directory')) below.set(parent, (below.get(parent) ?? 0) + 1);
  return below;
}

function* checkInode(rows: Rows, inode: InodeFacts, below: Map<number, number>): Generator<Finding> {
  const { db, namesOf, where } = rows;
  const { ino, nlink, parent } = inode;
  if (inode.extents === undefined) {
    yield { line: `${where(ino)}: the record of inode ${ino} is not whole` };
    return;
  }
  const isDirectory = isType(inode, 'directory');
  if (!isDirectory && !isType(inode, 'file') && !isType(inode, 'symlink'))
    yield { line: `${where(ino)}: inode ${ino} has mode ${inode.mode.toString(8)}, which is no type` };
  const own = namesOf.get(ino) ?? [];
  const limit = Number(rows.superblock('inodeCount'));
  if (!(ino >= 1 && ino < limit)) yield { line: `${where(ino)}: inode ${ino} is outside of the table` };
  if (own.length === 0 && ino !== rootIno) {
    if (nlink !== 0) yield nameless(rows, inode);
    return;
  }
  const right = isDirectory ? 2 + (below.get(ino) ?? 0) : own.length;
  if (nlink !== right) {
    const run = (): void => changeInode(db, ino, { nlink: right });
    const line = `${where(ino)}: has ${nlink} links, should have ${right}`;
    yield { line, mend: { line: `${where(ino)}: links set to ${right}`, run } };
  }
  if (!isDirectory || ino === rootIno) return;
  if (own.length > 1) yield { line: `${where(ino)}: a directory with ${own.length} names` };
  else if (own[0]?.parent !== parent) {
    const right = own[0]?.parent ?? rootIno;
    const run = (): void => changeInode(db, ino, { parent: right });
    const line = `${where(ino)}: is in inode ${right}, says ${parent}`;
    yield { line, mend: { line: `${where(ino)}: parent set to inode ${right}`, run } };
  }
}

/** It gets a name in the root: what is in it is not lost. */
function nameless({ db }: Rows, { ino, nlink }: InodeFacts): Finding {
  const name = `lost+found.${ino}`;
  const insert = db.prepare('INSERT INTO dirent (parent, name, ino) VALUES (?, ?, ?)');
  return {
    line: `inode ${ino}: has ${nlink} links and no name`,
    mend: { line: `inode ${ino}: named /${name}`, run: () => insert.run(rootIno, name, ino) },
  };
}

/** Directories that are in each other, and not below the root. */
function* checkReach({ inodes, names, namesOf }: Rows): Generator<Finding> {
  const children = new Map<number, number[]>();
  for (const { parent, ino } of names) children.set(parent, [...(children.get(parent) ?? []), ino]);
  const seen = new Set<number>();
  const visit = (from: number): void => {
    const waiting = [from];
    for (let ino = waiting.pop(); ino !== undefined; ino = waiting.pop()) {
      if (seen.has(ino)) continue;
      seen.add(ino);
      waiting.push(...(children.get(ino) ?? []));
    }
  };
  visit(rootIno);
  for (const ino of inodes.keys()) if (!namesOf.has(ino)) visit(ino);
  for (const ino of inodes.keys()) {
    if (!seen.has(ino)) yield { line: `inode ${ino}: is in a circle of directories, not below the root` };
  }
}

/** Where files lie in the segment. */
function* checkExtents(rows: Rows): Generator<Finding> {
  const pageCount = Number(rows.superblock('dataSize')) / pageSize;
  const owners: { page: number; end: number; ino: number }[] = [];
  for (const inode of rows.inodes.values()) {
    const { ino, extents = [], size } = inode;
    const bad = (what: string): Finding => layAnew(rows, inode, what);
    let end = 0;
    for (const { filePage, page, count } of extents) {
      const what = `the extent at file page ${filePage}`;
      if (count === 0 || filePage < end) yield bad(`${what} is empty or overlaps the one before`);
      if (page + count > pageCount) yield bad(`${what} is outside of the segment`);
      end = Math.max(end, filePage + count);
      owners.push({ page, end: page + count, ino });
    }
    if (end > Math.ceil(size / pageSize)) yield bad('extents reach beyond its end');
  }
  owners.sort((a, b) => a.page - b.page);
  let last = owners[0];
  for (const run of owners.slice(1)) {
    if (last !== undefined && run.page < last.end) {
      for (const { ino } of [last, run]) {
        const inode = rows.inodes.get(ino) as InodeFacts;
        yield layAnew(rows, inode, `shares page ${run.page} of the segment with another file`);
      }
    }
    if (last === undefined || run.end > last.end) last = run;
  }
}

/** What is stored of a file says all that the next start needs; without it, nothing can be done. */
function layAnew({ db, where }: Rows, { ino, generation, size }: InodeFacts, what: string): Finding {
  const line = `${where(ino)}: ${what}`;
  const durable = db.prepare('SELECT 1 FROM durable WHERE ino = ? AND generation = ?').get(ino, generation);
  if (durable === undefined && size > 0) return { line };
  const run = (): void => {
    changeInode(db, ino, { extents: [] });
    db.prepare('INSERT OR IGNORE INTO dirty VALUES (?)').run(ino);
  };
  return { line, mend: { line: `${where(ino)}: laid anew from what is stored, as at its last sync`, run } };
}
