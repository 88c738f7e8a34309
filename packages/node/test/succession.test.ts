/** Commits come to a node one after the other: one that is left out, or comes twice, makes no other tree. */
import { PeerLink } from '@cluster-fs/transport/peer';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Succession } from '../src/cluster/parts.ts';
import { startTwo, timeout } from './two-keepers.ts';

type Tells = (this: PeerLink, name: string, fields: { readonly sequence: number }) => void;

/** Resolves when somebody is told of the next commit; `tell` says how often that comes. */
function nextCommit(tell: (told: () => void) => void): Promise<void> {
  const event = PeerLink.prototype.event as unknown as Tells;
  const spy = vi.spyOn(PeerLink.prototype, 'event') as unknown as { mockImplementation(tells: Tells): void };
  onTestFinished(() => void vi.restoreAllMocks());
  return new Promise((resolve) => {
    let isNext = true;
    spy.mockImplementation(function (name, ...rest) {
      const told = () => event.call(this, name, ...rest);
      if (name !== 'changes' || !isNext) return told();
      isNext = false;
      tell(told);
      resolve();
    });
  });
}

test.each<[string, (told: () => void) => void]>([
  ['is left out', () => undefined],
  [
    'comes twice',
    (told) => {
      told();
      told();
    },
  ],
])('a node of which a commit %s asks for what comes after its own', { timeout }, async (_, tell) => {
  const { atA, atB, b } = await startTwo();
  await atA.promises.writeFile('/before', '');
  const emit = vi.spyOn(b.coordinator.hub, 'emit');
  const told = nextCommit(tell);
  const first = atA.promises.mkdir('/first');
  await told;
  await atA.promises.mkdir('/second');
  await first;
  const reason = { why: expect.stringContaining('is the next') };
  expect(emit).toHaveBeenCalledWith('home-lost', undefined, expect.objectContaining(reason));
  for (const path of ['/before', '/first', '/second']) expect(atB.existsSync(path)).toBe(true);
  await atB.promises.rmdir('/first');
  expect(atA.readdirSync('/')).toEqual(['before', 'second']);
});

const part = (sequence: number, isLast = true) => ({ sequence, isLast });

describe('a succession', () => {
  test.each<[string, number | undefined, readonly ReturnType<typeof part>[]]>([
    ['one after the other', 3, [part(4), part(5)]],
    ['in parts', 0, [part(1, false), part(1, false), part(1), part(2)]],
    ['of which any may be the first', undefined, [part(7, false), part(7), part(8)]],
  ])('has commits %s', (_, last, parts) => {
    const succession = new Succession(last);
    for (const each of parts) succession.take(each);
    succession.end(parts.at(-1)?.sequence ?? 0);
    expect(() => succession.end(100)).toThrow(/is said to be as after commit 100/);
  });

  test.each<[string, number | undefined, readonly ReturnType<typeof part>[]]>([
    ['is left out', 3, [part(5)]],
    ['comes twice', 3, [part(3)]],
    ['is left out of those that come with everything', undefined, [part(7), part(9)]],
    ['begins before the one before has ended', 3, [part(4, false), part(5)]],
    ['has a part more', 3, [part(4, false), part(4), part(4)]],
  ])('refuses one that %s', (_, last, parts) => {
    const succession = new Succession(last);
    const take = () => {
      for (const each of parts) succession.take(each);
    };
    expect(take).toThrow(/EPROTO.*is the next/);
  });

  test('does not end in the middle of a commit', () => {
    const succession = new Succession(undefined);
    succession.end(4);
    succession.take(part(5, false));
    expect(() => succession.end(5)).toThrow(/has not come to its end/);
  });
});
