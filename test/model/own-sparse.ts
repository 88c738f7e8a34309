/** Holes, zeros and pages by the handles of cluster-fs itself. */
import type { SparseHandle } from 'cluster-fs';
import type { SparseCalls } from './command.ts';

const own = (handle: object): SparseHandle => handle as SparseHandle;
export const ownSparse: SparseCalls = {
  punchHole: (handle, offset, length) => own(handle).punchHole(offset, length),
  zeroRange: (handle, offset, length) => own(handle).zeroRange(offset, length),
  allocate: (handle, offset, length) => own(handle).allocate(offset, length),
  seek: (handle, offset, what) =>
    what === 'data' ? own(handle).seekData(offset) : own(handle).seekHole(offset),
};
