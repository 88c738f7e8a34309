/**
 * Preloaded into a process (`--import`): one module of the node is loaded with a text of it replaced, as
 * CLUSTERFS_BROKEN_RULE says. The node has no switch for that.
 */
import { register } from 'node:module';

const broken = process.env.CLUSTERFS_BROKEN_RULE;
if (broken !== undefined)
  register(import.meta.resolve('./broken-rule-hooks.mjs'), { data: JSON.parse(broken) });
