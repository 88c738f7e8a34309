/** Changes as bytes, for the log: each a list, what it is first, in msgpack. The tables say the order. */
import { decodeBody, FsError, packBody } from '@cluster-fs/transport';
import type { StoredExtent } from '../store/stored.ts';
import { decodeExtents, encodeExtents } from './extents.ts';
import { assertOver, type OldSession } from './old-sessions.ts';
import {
  type Change,
  type DirentRow,
  type DurableRow,
  type HeldRow,
  type InodeRow,
  inodeFields,
} from './store.ts';

/** How each change is called in the log. Never another's: 5 and 6 were sessions. */
const codes = {
  putInode: 1,
  deleteInode: 2,
  putDirent: 3,
  deleteDirent: 4,
  hold: 7,
  unhold: 8,
  putStored: 9,
  deleteStored: 10,
  putDurable: 11,
  markDirty: 12,
  markClean: 13,
  putRedo: 14,
  clearRedo: 15,
  forgetStored: 16,
} as const satisfies Readonly<Record<Change['type'], number>>;
/** A log of before schema 6 may have them: who came, and who went. */
const ofSessions = { put: 5, delete: 6 } as const;
const typeOf = new Map<unknown, Change['type']>(
  Object.entries(codes).map(([type, code]) => [code, type as Change['type']]),
);

/** The fields of a change, or of its row, where they are no more than that. */
const rowFields = {
  putDirent: ['parent', 'name', 'ino'] satisfies readonly (keyof DirentRow)[],
  hold: ['id', 'page', 'count', 'reason'] satisfies readonly (keyof HeldRow)[],
  putDurable: ['ino', 'generation', 'size', 'mtimeMs'] satisfies readonly (keyof DurableRow)[],
} as const;
const ownFields = {
  deleteInode: ['ino'],
  deleteDirent: ['parent', 'name'],
  unhold: ['id'],
  deleteStored: ['ino', 'filePage'],
  markDirty: ['ino'],
  markClean: ['ino'],
  putRedo: ['place', 'bytes'],
  clearRedo: [],
  forgetStored: ['ino'],
} as const;

/** The memory is used again for the next. */
export const encodeChanges = (changes: readonly Change[]): Uint8Array =>
  packBody(changes.map(listOf), Number.POSITIVE_INFINITY);

/** @throws FsError EPROTO, EIO when the bytes are none of `encodeChanges`; EBUSY, see `assertOver`. */
export const decodeChanges = (bytes: Uint8Array): Change[] =>
  (decodeBody(bytes) as readonly (readonly unknown[])[]).filter((list) => !isOfSession(list)).map(changeOf);

/** @throws FsError EBUSY for one whose process lives, and may store */
function isOfSession([code, , pid, startTime]: readonly unknown[]): boolean {
  if (code === ofSessions.put) assertOver({ pid, startTime } as OldSession);
  return code === ofSessions.put || code === ofSessions.delete;
}

const valuesOf = (from: object, fields: readonly string[]): unknown[] =>
  fields.map((field) => (from as Readonly<Record<string, unknown>>)[field]);

function listOf(change: Change): unknown[] {
  const code = codes[change.type];
  switch (change.type) {
    case 'putInode': {
      const { row } = change;
      return [code, ...valuesOf(row, inodeFields), row.target ?? null, encodeExtents(row.extents)];
    }
    case 'putStored': {
      const { filePage, count, place, sums } = change.extent;
      const bytes = new Uint8Array(sums.buffer, sums.byteOffset, sums.byteLength);
      return [code, change.ino, filePage, count, place, bytes];
    }
    case 'putDirent':
    case 'hold':
    case 'putDurable':
      return [code, ...valuesOf(change.row, rowFields[change.type])];
    default:
      return [code, ...valuesOf(change, ownFields[change.type])];
  }
}

const withFields = (fields: readonly string[], values: readonly unknown[]): Record<string, unknown> =>
  Object.fromEntries(fields.map((field, i) => [field, values[i]]));

function changeOf([code, ...values]: readonly unknown[]): Change {
  const type = typeOf.get(code);
  switch (type) {
    case undefined:
      throw new FsError('EIO', 'read', { why: `the log has a change ${String(code)}` });
    case 'putInode': {
      const [target, extents] = values.slice(inodeFields.length) as [string | null, Uint8Array | null];
      const more = { target: target ?? undefined, extents: decodeExtents(extents) };
      return { type, row: { ...withFields(inodeFields, values), ...more } as unknown as InodeRow };
    }
    case 'putStored': {
      const [ino, filePage, count, place, bytes] = values as [number, number, number, number, Uint8Array];
      // The sums are copied: bytes may lie at any address.
      const sums = new BigUint64Array(new Uint8Array(bytes).buffer);
      return { type, ino, extent: { filePage, count, place, sums } satisfies StoredExtent };
    }
    case 'putDirent':
    case 'hold':
    case 'putDurable':
      return { type, row: withFields(rowFields[type], values) } as unknown as Change;
    default:
      return { type, ...withFields(ownFields[type], values) } as Change;
  }
}
