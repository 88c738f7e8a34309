export type { Allowed } from './admission.ts';
export type { ClusterOptions } from './cluster/enter.ts';
export { type LimitName, type Limits, limitTable } from './limits.ts';
export {
  type ClusterNode,
  type JoinOptions,
  joinNode,
  type NodeOptions,
  startNode,
} from './node.ts';
export { version } from './version.ts';
