/** The way to another node, while that is away. */
import { getEventListeners } from 'node:events';
import { FsError } from '@cluster-fs/transport';
import { expect, onTestFinished, test } from 'vitest';
import { Line } from '../src/cluster/line.ts';

test('attempts to connect leave nothing behind, and end with the line', async () => {
  const listeners: number[] = [];
  const away = new FsError('ECONNREFUSED', 'connect');
  const line = new Line(
    (signal) => {
      listeners.push(getEventListeners(signal, 'abort').length);
      return Promise.reject(away);
    },
    { up: () => undefined, down: () => undefined, event: () => undefined, unreachable: () => away },
  );
  onTestFinished(() => line.close());
  line.connect();
  await expect.poll(() => listeners.length, { timeout: 5000 }).toBeGreaterThan(3);
  expect(Math.max(...listeners)).toBe(0);
  line.close();
  await expect(line.link()).rejects.toBe(away);
});
