export { absentRuns, countEviction, hasAbsent, isAbsent, setAbsent } from './absent.ts';
export { PageAllocator } from './allocator.ts';
export { checkSegment, type OtherPages } from './check.ts';
export { type DirectoryEntry, type Lookup, listDirectory, lookup } from './directory.ts';
export { readExtents, readText } from './extents.ts';
export { formatSegment, layoutHash } from './format.ts';
export {
  fileType,
  fillInode,
  homeIn,
  InodeCopy,
  isDirectory,
  isFile,
  isSymlink,
  modeOf,
  readInode,
  showHome,
  unchanged,
} from './inode.ts';
export * as layout from './layout.ts';
export { type Geometry, geometryFor, maxHomes, maxNameBytes, pageSize, rootIno } from './layout.ts';
export { forever, heldUntilNs, isHeldAt, setHeldUntil } from './leases.ts';
export { encodeName } from './name.ts';
export { nodesHere } from './nodes-here.ts';
export { openSegment } from './open.ts';
export { allows, type Credentials, mayAccess, type Walk, walk } from './path.ts';
export {
  bindSegment,
  bucketGuard,
  type Counter,
  counter,
  epochOf,
  inodeAt,
  type Segment,
  setCounter,
} from './segment.ts';
export {
  DirectorySlots,
  freeChain,
  insertDirent,
  removeDirent,
  retargetDirent,
  setExtents,
  setText,
} from './tree.ts';
export { SegmentWriter } from './writer.ts';
