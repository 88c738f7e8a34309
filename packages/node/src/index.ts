export { type ClusterNode, type NodeOptions, startNode } from './node.ts';
export { version } from './version.ts';
