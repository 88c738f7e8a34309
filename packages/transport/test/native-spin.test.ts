import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';
import { inThread } from './native-elsewhere.ts';

function keptSpin(): native.LoopSpin {
  const spin = native.spinLoop();
  onTestFinished(() => spin.close());
  return spin;
}

test('a loop that waits for nothing but a timer looks in vain', async () => {
  const spin = keptSpin();
  const look = { caught: false, microseconds: expect.toSatisfy((took: number) => took >= 500) };
  await expect.poll(() => spin.next(500)).toEqual(look);
});

test('a loop that has something to do does not look', async () => {
  const spin = keptSpin();
  spin.next(1000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(spin.next(0)).toBeUndefined();
});

test('what another thread sends ends the look', async () => {
  const echo = new Worker(
    `const { parentPort } = require('node:worker_threads');
     parentPort.on('message', (message) => parentPort.postMessage(message));`,
    { eval: true },
  );
  onTestFinished(async () => {
    await echo.terminate();
  });
  const spin = keptSpin();
  // A thread that has just started may take longer than one look.
  await expect
    .poll(async () => {
      const answered = new Promise((resolve) => echo.once('message', resolve));
      echo.postMessage('ping');
      spin.next(1000);
      await answered;
      return spin.next(0)?.caught;
    })
    .toBe(true);
});

test('a spin that is closed does nothing', () => {
  const spin = native.spinLoop();
  spin.next(1000);
  spin.close();
  spin.close();
  expect(spin.next(1000)).toBeUndefined();
});

test('a thread ends with its spins open', async () => {
  const thread = inThread(({ native: here }) => {
    here.spinLoop().next(1000);
    here.spinLoop();
  }, undefined);
  const [code] = await once(thread.worker, 'exit');
  expect(code).toBe(0);
});
