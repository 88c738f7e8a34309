/** A write whose bytes came from another node: as a client of this one would do it. */
import { writeSync } from 'node:fs';
import { writeBegin, writeEnd } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Session } from '../coordinator/session.ts';
import { piecesOf } from './pieces.ts';

export async function writeBytes(
  c: Coordinator,
  session: Session,
  { handle, offset }: { readonly handle: number; readonly offset: number | undefined },
  bytes: Uint8Array,
): Promise<{ offset: number; size: number }> {
  const begun = await writeBegin(c, session, { handle, offset, length: bytes.length });
  try {
    for (const { at, from, length } of piecesOf(begun.extents, begun.offset, bytes.length))
      writeSync(c.data.fd, bytes, at, length, from);
  } catch (error) {
    await writeEnd(c, session, { grant: begun.grant, written: 0 });
    throw error;
  }
  const { size } = await writeEnd(c, session, { grant: begun.grant, written: bytes.length });
  return { offset: begun.offset, size };
}
