/** A node in a process of its own: options as JSON in argv, then `ready` or `refused` as a message. */
import { startNode } from '@cluster-fs/node';

/** @param {string} kind @param {unknown} detail */
function tell(kind, detail) {
  const { code, message, stack } = /** @type {NodeJS.ErrnoException} */ (Object(detail));
  process.send?.({ kind, code, text: stack ?? message ?? String(detail) });
}

const orphaned = () => process.kill(process.pid, 'SIGKILL');

try {
  const node = startNode({
    ...JSON.parse(process.argv[2] ?? '{}'),
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
