/** A node in a process of its own: options as JSON in argv, then `ready` or `refused` as a message. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { startNode } from '@cluster-fs/node';

const options = JSON.parse(process.argv[2] ?? '{}');

/** @param {string} kind @param {unknown} detail */
function tell(kind, detail) {
  const { code, message, stack } = /** @type {NodeJS.ErrnoException} */ (Object(detail));
  process.send?.({ kind, code, text: stack ?? message ?? String(detail) });
}

/** Whoever ran the tests is gone, and cannot clean up any more. */
function orphaned() {
  for (const path of [options.runDirectory, dirname(options.socketPath)]) {
    rmSync(path, { recursive: true, force: true });
  }
  process.kill(process.pid, 'SIGKILL');
}

try {
  const node = startNode({
    ...options,
    onError: (error) => tell('error', error),
    onNotice: (text) => tell('notice', text),
  });
  process.on('disconnect', orphaned);
  process.on('message', () => {
    process.off('disconnect', orphaned);
    void node.stop().then(() => process.disconnect());
  });
  process.send?.({ kind: 'ready', recovered: node.recovered });
} catch (error) {
  tell('refused', error);
  process.disconnect();
}
