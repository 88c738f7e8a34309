import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Confined, type Party, Quarantine } from '../src/coordinator/quarantine.ts';
import type { Grant, View } from '../src/coordinator/session.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const view = (id: number) => ({ id }) as View;
const grant = (id: number) => ({ id }) as Grant;

function confinedFor(parties: readonly Party[], ino = 1): Confined {
  return {
    heldId: 1,
    runs: [{ page: ino, count: 1 }],
    ino,
    path: '/file',
    sinceMs: 0,
    parties: new Set(parties),
  };
}

function scene() {
  const freed: Confined[] = [];
  return { freed, quarantine: new Quarantine((confined) => freed.push(confined)) };
}

describe('the quarantine', () => {
  test('frees at once what nobody holds', () => {
    const { freed, quarantine } = scene();
    const confined = confinedFor([]);
    quarantine.add(confined);
    expect(freed).toEqual([confined]);
    expect(quarantine.all.size).toBe(0);
  });

  test('waits for every party, and frees once', () => {
    const { freed, quarantine } = scene();
    const [a, b, g] = [view(1), view(2), grant(3)];
    quarantine.add(confinedFor([{ view: a, serial: 5 }, { view: b, serial: 2 }, { grant: g }]));
    quarantine.viewLetGo(a, 5);
    quarantine.grantLetGo(g);
    expect(freed).toHaveLength(0);
    quarantine.viewLetGo(b, Number.POSITIVE_INFINITY);
    quarantine.viewLetGo(b, Number.POSITIVE_INFINITY);
    quarantine.grantLetGo(g);
    expect(freed).toHaveLength(1);
  });

  test('is not fooled by an answer to an earlier remap, or by another view', () => {
    const { freed, quarantine } = scene();
    const holder = view(1);
    quarantine.add(confinedFor([{ view: holder, serial: 5 }]));
    quarantine.viewLetGo(holder, 4);
    quarantine.viewLetGo(view(1), Number.POSITIVE_INFINITY);
    expect(freed).toHaveLength(0);
    quarantine.viewLetGo(holder, 6);
    expect(freed).toHaveLength(1);
  });

  test('tells who waits when what was there is free, and does not wait for what comes later', async () => {
    const { quarantine } = scene();
    const [a, b] = [view(1), view(2)];
    quarantine.add(confinedFor([{ view: a, serial: 1 }]));
    const settled = quarantine.settled(1000);
    quarantine.add(confinedFor([{ view: b, serial: 1 }]));
    quarantine.viewLetGo(a, 1);
    expect(await settled).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('gives up when the deadline has passed', async () => {
    const { quarantine } = scene();
    quarantine.add(confinedFor([{ view: view(1), serial: 1 }]));
    const settled = quarantine.settled(1000);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await settled).toBe(false);
  });

  test('waits for one file and not for others', async () => {
    const { quarantine } = scene();
    const [a, b] = [view(1), view(2)];
    quarantine.add(confinedFor([{ view: a, serial: 1 }], 1));
    quarantine.add(confinedFor([{ view: b, serial: 1 }], 2));
    expect(await quarantine.settled(1000, 3)).toBe(true);
    const settled = quarantine.settled(1000, 2);
    quarantine.viewLetGo(b, 1);
    expect(await settled).toBe(true);
  });
});
