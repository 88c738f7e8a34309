/**
 * Short writes: their bytes come with the request, and the coordinator stores them. What is not in the way of
 * anybody is stored at once; else it waits for its turn as a client's own store does.
 */
import { type ErrorCode, FsError, type Reply, type Request } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import { writeAllNow } from '../store/file-calls.ts';
import type { Range } from '../store/stored.ts';
import {
  assertFits,
  extendsFile,
  pagesFor,
  touchModified,
  writableHandle,
  writeBegin,
  writeEnd,
} from './content.ts';
import type { Coordinator } from './coordinator.ts';
import { piecesOf } from './pieces.ts';
import { clip } from './runs.ts';
import type { Session } from './session.ts';

export function write(c: Coordinator, session: Session, request: Request<'write'>): Promise<Reply<'write'>> {
  const { offset, bytes } = request;
  const { ino, path } = writableHandle(session, request.handle);
  c.assertHome(ino);
  const { length } = bytes;
  if (length === 0) throw new FsError('EINVAL', 'write', { why: 'nothing to write' });
  assertFits(c, (offset ?? 0) + length, 'write', path);
  if (offset === undefined || extendsFile(c, ino, offset, length)) return storeInTurn(c, session, request);
  const from = Math.floor(offset / pageSize);
  const range = { from, count: pagesFor(offset + length) - from };
  if (!isFree(c, ino, range)) return storeInTurn(c, session, request);
  return c.journal.mutate(() => {
    c.contentChanges(ino, range);
    const { size } = c.inode(ino);
    store(c, bytes, { extents: clip(c.extents(ino), from, range.count), offset });
    touchModified(c, ino, path);
    return { size, offset };
  });
}

/** Whether nobody holds the layout alone, no other node has the pages, and all of them are in memory. */
function isFree(c: Coordinator, ino: number, range: Range): boolean {
  if (!c.gate.isOpen(ino) || c.blocks?.holds(ino, range, 'write') === false) return false;
  const { pager } = c;
  return pager === undefined || pager.absentOf(clip(c.extents(ino), range.from, range.count)).length === 0;
}

async function storeInTurn(
  c: Coordinator,
  session: Session,
  { handle, offset: wanted, bytes }: Request<'write'>,
): Promise<Reply<'write'>> {
  const { length } = bytes;
  const { grant, offset, extents } = await writeBegin(c, session, { handle, offset: wanted, length });
  try {
    store(c, bytes, { extents, offset });
  } catch (error) {
    await writeEnd(c, session, { grant, written: 0 });
    throw error;
  }
  return await writeEnd(c, session, { grant, written: length });
}

type Place = Pick<Reply<'writeBegin'>, 'extents' | 'offset'>;

function store({ data }: Coordinator, bytes: Uint8Array, { extents, offset }: Place): void {
  try {
    for (const { at, from, length } of piecesOf(extents, offset, bytes.length))
      writeAllNow(data.fd, bytes.subarray(at, at + length), from, data.path);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    throw new FsError(code as ErrorCode, 'write', { cause: error });
  }
}
