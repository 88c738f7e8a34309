/** The coherence protocol: who may read and store into which block, on many nodes. docs/coherence.md */
export type { BlockId, CacheMessage, DirectoryMessage, Memory } from './block-cache.ts';
export * from './cache.ts';
export { Channel, type Envelope } from './channel.ts';
export * from './directory.ts';
export * from './holder.ts';
export * from './home.ts';
export * from './lease.ts';
export * from './messages.ts';
