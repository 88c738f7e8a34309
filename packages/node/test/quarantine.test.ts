import type { Extent } from '@cluster-fs/transport';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Confined, type Party, Quarantine } from '../src/coordinator/quarantine.ts';
import type { Grant, View } from '../src/coordinator/session.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** What a view may map, and until which answer. */
type Mapped = Pick<View, 'extents' | 'unanswered' | 'planned'>;

const page = (number: number): Extent => ({ filePage: 0, page: number, count: 1 });
const nothing: Mapped = { extents: [], unanswered: [], planned: [] };

/** As long as it is open. */
function view(id: number, mapped: Partial<Mapped> = {}): View {
  const session = { views: new Map() };
  const made = { id, session, ...nothing, ...mapped } as unknown as View;
  session.views.set(id, made);
  return made;
}

function grant(id: number): Grant {
  const session = { grants: new Map() };
  const made = { id, session } as unknown as Grant;
  session.grants.set(id, made);
  return made;
}

const close = (gone: View): void => void gone.session.views.delete(gone.id);
const end = (gone: Grant): void => void gone.session.grants.delete(gone.id);
const unanswered = (before: number) => [{ serial: 1, before: [page(before)], from: 0, count: 1, sentMs: 0 }];

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
    const [a, b, g] = [view(1, { extents: [page(1)] }), view(2, { unanswered: unanswered(1) }), grant(3)];
    quarantine.add(confinedFor([{ view: a }, { view: b }, { grant: g }]));
    a.extents = [page(2)];
    quarantine.viewAnswered(a);
    end(g);
    quarantine.grantEnded(g);
    expect(freed).toHaveLength(0);
    close(b);
    quarantine.viewAnswered(b);
    quarantine.viewAnswered(b);
    quarantine.grantEnded(g);
    expect(freed).toHaveLength(1);
  });

  test.each<[string, Partial<Mapped>]>([
    ['what it was told last', { extents: [page(2), page(1)] }],
    ['what that replaces, and it has not answered', { unanswered: unanswered(1) }],
    ['what it is told with the commit that is being made', { planned: [[page(1)], []] }],
  ])('keeps what a view may map by %s, whatever it answers', (_, mapped) => {
    const { freed, quarantine } = scene();
    const holder = view(1, mapped);
    quarantine.add(confinedFor([{ view: holder }]));
    quarantine.viewAnswered(holder);
    quarantine.viewAnswered(view(1));
    expect(freed).toHaveLength(0);
    Object.assign(holder, nothing);
    quarantine.viewAnswered(view(1));
    expect(freed).toHaveLength(0);
    quarantine.viewAnswered(holder);
    expect(freed).toHaveLength(1);
  });

  test('tells who waits when what was there is free, and does not wait for what comes later', async () => {
    const { quarantine } = scene();
    const [a, b] = [view(1), view(2, { extents: [page(1)] })];
    quarantine.add(confinedFor([{ view: a }]));
    const settled = quarantine.settled(1000);
    quarantine.add(confinedFor([{ view: b }]));
    quarantine.viewAnswered(a);
    expect(await settled).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('gives up when the deadline has passed', async () => {
    const { quarantine } = scene();
    quarantine.add(confinedFor([{ view: view(1) }]));
    const settled = quarantine.settled(1000);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await settled).toBe(false);
  });

  test('waits for one file and not for others', async () => {
    const { quarantine } = scene();
    const [a, b] = [view(1), view(2)];
    quarantine.add(confinedFor([{ view: a }], 1));
    quarantine.add(confinedFor([{ view: b }], 2));
    expect(await quarantine.settled(1000, 3)).toBe(true);
    const settled = quarantine.settled(1000, 2);
    quarantine.viewAnswered(b);
    expect(await settled).toBe(true);
  });
});
