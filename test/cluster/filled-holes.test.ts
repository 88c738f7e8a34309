/** Holes of files of another home, which get pages under a view to read that shows them. */
import { expect, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const timeout = 60_000;

test.each([
  ['a node that keeps files', true],
  ['a node that has copies alone', false],
])(
  'what is stored into a hole that a view beside shows is seen by all: %s',
  { timeout },
  async (_, keeps) => {
    const joinPort = await freePort();
    const a = await startNodeProcess({ peerPort: joinPort, name: 'a' });
    const b = await startNodeProcess({
      joinPort,
      name: 'b',
      ...(keeps ? { peerPort: await freePort() } : {}),
    });
    const child = startChild('../cluster/filled-holes.mjs', [a.url, b.url]);
    expect((await child.hear<{ findings: string[] }>('found')).findings).toEqual([]);
    expect([a.errors, b.errors]).toEqual([[], []]);
  },
);
