export type { Allowed } from './admission.ts';
export type { ClusterOptions } from './cluster/enter.ts';
export { type JoinOptions, joinNode, startNode } from './cluster/start.ts';
export { type LimitName, type Limits, limitTable } from './limits.ts';
export type { ClusterNode, NodeOptions } from './node.ts';
export { version } from './version.ts';
