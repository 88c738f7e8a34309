/** What tests of losses of power share. */
import { rmSync } from 'node:fs';
import type { ClusterFs } from 'cluster-fs';
import type { NodeProcess } from '../chaos/node-process.ts';

/** A time of write-back longer than any test: nothing is stored that was not asked for. */
export const never = 10_000_000;

/** The node is gone, and all that was in memory alone. */
export async function cutPower(node: NodeProcess): Promise<void> {
  await node.kill();
  rmSync(node.runDirectory, { recursive: true });
}

export interface StoreReport {
  readonly dirtyFiles: number;
  readonly failure: string | null;
  readonly damage: readonly unknown[];
}

export const storeReport = async (fs: ClusterFs): Promise<StoreReport> =>
  (await fs.status()).store as StoreReport;
