/**
 * The rules by which nothing is lost, each broken by a change of one place of the node's code as it is built;
 * and the test that must notice. See docs/testing.md.
 */

import { brokenClusterRules } from './broken-cluster-rules.ts';
import { brokenMemoryRules } from './broken-memory-rules.ts';
import { brokenWritingRules } from './broken-writing-rules.ts';

export interface BrokenRule {
  /** What is not done, or done wrongly. */
  readonly rule: string;
  /** Under packages/node/dist. */
  readonly module: string;
  /** What is there once, and what is put in its place. */
  readonly from: string;
  readonly to: string;
  /** Under test. */
  readonly noticedBy: string;
  /** As vitest's `-t`. */
  readonly named: string;
  /** Whether CI breaks it too: what is noticed soon, and at every time. */
  readonly isQuick?: true;
}

export const brokenRules: readonly BrokenRule[] = [
  ...brokenWritingRules,
  ...brokenMemoryRules,
  ...brokenClusterRules,
];
