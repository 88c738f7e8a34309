/** With --verbose, everything that happens goes to the log. */
import type { ClusterNode } from '../node.ts';
import type { Log } from './log.ts';

/** Resolves to the way to stop, when events are being logged. */
export async function logEvents({ socketPath }: ClusterNode, log: Log): Promise<() => Promise<void>> {
  const { mount } = await import('cluster-fs');
  const fs = await mount(`unix:${socketPath}`, { label: 'log of the node' });
  const controller = new AbortController();
  const follow = async (): Promise<void> => {
    for await (const { kind, path, detail } of fs.events({ signal: controller.signal })) {
      log.detail({ kind, path, detail }, path === undefined ? kind : `${kind} ${path}`);
    }
  };
  const following = follow().catch((error: unknown) => log.error('the log of events has ended', error));
  return async () => {
    controller.abort();
    await following;
    await fs.unmount();
  };
}
