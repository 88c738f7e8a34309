/** The coherence protocol: who may read and store into which block, on many nodes. docs/coherence.md */
export type { BlockId, CacheMessage, DirectoryMessage, Memory } from './block-cache.ts';
export * from './cache.ts';
export { Channel, type Envelope } from './channel.ts';
export * from './directory.ts';
export { HandingOver, type HandingOverParts } from './handing-over.ts';
export { HeldTags, type HeldTagsWorld, type TagReply, type TagRequest } from './held-tags.ts';
export * from './holder.ts';
export * from './home.ts';
export { Leading, type LeadingOptions, type LeadingWorld, type Way } from './leading.ts';
export * from './lease.ts';
export * from './messages.ts';
export * from './moving.ts';
export { type Committed, type Position, Positions } from './positions.ts';
export {
  assertMaySay,
  type Tag,
  type TagAsked,
  type TagMap,
  type TagMode,
  Tags,
  type TagsWorld,
} from './tags.ts';
export { type Progress, Taken, type TakenParts } from './taken.ts';
