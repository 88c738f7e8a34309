export { type ErrorCode, type Extent, FsError } from '@cluster-fs/transport';
export { defaultSocket, defaultUrl, runDirectory, socketFor } from './address.ts';
export type { EmbeddedOptions, JoinProof } from './client/embedded.ts';
export { type RecallEvent, View, type ViewEvent, type ViewOptions } from './client/view.ts';
export { ClusterFs, type LongOptions } from './cluster-fs.ts';
export type { ReplaceData, ReplaceOptions } from './fs/index.ts';
export {
  BigIntStats,
  Dir,
  Dirent,
  type FileApi,
  FileHandle,
  type FilePromises,
  FSWatcher,
  missingFunctions,
  missingPromises,
  type RangeOptions,
  type SparseHandle,
  type SparsePromises,
  Stats,
} from './fs/index.ts';
export { type MountOptions, mount } from './mount.ts';
