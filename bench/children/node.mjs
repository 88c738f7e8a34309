// A node: ends when its parent says so or is gone.
import { startNode } from '@cluster-fs/node';

const [socketPath, memory] = process.argv.slice(2);
const node = startNode({
  socketPath,
  memory: Number(memory),
  onError: (error) => console.error('node:', error),
});
process.once('disconnect', () => node.stop());
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => process.connected && process.disconnect());
process.send('ready');
