/** STags at a home: by which it names a file to a session that was given several, and how they end. */
import { type Tag, type TagAsked, Tags } from 'cluster-fs/coherence';
import { expect, test, vi } from 'vitest';

const ino = 7;
const session = 1;

interface Filling {
  resolve(): void;
  reject(error: unknown): void;
}

function given() {
  let nextStag = 1;
  const forget = vi.fn();
  const counted = vi.fn();
  const ended = vi.fn();
  const fillings: Filling[] = [];
  const tags = new Tags<number>({
    newMap: <T>() => new Map<number, T>(),
    newStag: () => nextStag++,
    given: counted,
    ended,
    fill: () => new Promise((resolve, reject) => fillings.push({ resolve, reject })),
    forget,
  });
  const asked = (number: number, of = session): TagAsked => ({ ino, mode: 'rw', session: of, asked: number });
  const open = (number: number, of?: number): Promise<Tag<number>> =>
    tags.open(asked(number, of), () => undefined);
  /** One whose answer may have come. */
  const opened = (number: number, of?: number): Promise<Tag<number>> => {
    const opening = open(number, of);
    fillings.at(-1)?.resolve();
    return opening;
  };
  const giveBack = (tag: Tag<number>): boolean => tags.giveBack(tags.resolve(tag.stag, session));
  const handedOver = (number: number): Tag<number> => tags.give(asked(number));
  return { tags, open, opened, giveBack, handedOver, fillings, forget, given: counted, ended };
}

test('a file is named by what the session has named, whatever else was given', async () => {
  for (const named of [0, 1, 2]) {
    const { tags, opened } = given();
    const some = [await opened(1), await opened(2), await opened(3)];
    tags.resolve(some[named]?.stag ?? 0, session);
    expect(tags.of(ino, session)).toBe(some[named]);
  }
});

test('by what came with the file, and by nothing that was only asked for', async () => {
  const { tags, open, opened, handedOver } = given();
  void open(1);
  await opened(2);
  expect(tags.of(ino, session)).toBeUndefined();
  // Of the one before the answer did not come.
  const [, second] = [handedOver(3), handedOver(4)];
  await opened(5);
  expect(tags.of(ino, session)).toBe(second);
});

test('by one that is given back while there is no other that it has', async () => {
  const { tags, opened, giveBack } = given();
  const closing = await opened(1);
  expect(giveBack(closing)).toBe(true);
  const later = await opened(2);
  expect(tags.of(ino, session)).toBe(closing);
  tags.resolve(later.stag, session);
  expect(tags.of(ino, session)).toBe(later);
  // Over another link it is given back again.
  expect(giveBack(closing)).toBe(false);
});

test('never by one of another session', () => {
  const { tags } = given();
  tags.give({ ino, mode: 'rw', session: 2, asked: 1 });
  expect(tags.of(ino, session)).toBeUndefined();
});

test('a session that gives back all that it knows of has nothing of the file', async () => {
  const { open, opened, giveBack, forget } = given();
  const [first, second] = [await opened(1), await opened(2)];
  void open(3);
  giveBack(first);
  // The second may have come: it was not named.
  expect(forget).toHaveBeenCalledWith(ino, session);
  forget.mockClear();
  const third = await opened(4);
  giveBack(second);
  expect(forget).toHaveBeenCalledTimes(1);
  giveBack(third);
  expect(forget).toHaveBeenCalledTimes(2);
});

test('a session that has another one that it knows still has the file', async () => {
  const { tags, opened, giveBack, forget } = given();
  const [first, second] = [await opened(1), await opened(2)];
  tags.resolve(second.stag, session);
  giveBack(first);
  expect(forget).not.toHaveBeenCalled();
});

test('what is asked for twice under a number is given once, and is one when it fails', async () => {
  const { tags, open, fillings, ended } = given();
  const both = [open(1), open(1)];
  expect(fillings).toHaveLength(1);
  expect(tags.count).toBe(1);
  fillings[0]?.reject(new Error('no space'));
  for (const one of both) await expect(one).rejects.toThrow('no space');
  expect(tags.count).toBe(0);
  expect(ended).toHaveBeenCalledTimes(1);
  const again = [open(1), open(1)];
  fillings[1]?.resolve();
  expect(await again[0]).toBe(await again[1]);
});

test('one whose session ends while its file is filled is over', async () => {
  const { tags, open, fillings, ended } = given();
  const opening = open(1);
  tags.ended(session);
  fillings[0]?.resolve();
  await expect(opening).rejects.toMatchObject({ code: 'EAGAIN' });
  expect(ended).toHaveBeenCalledTimes(1);
});

test('only what was given back is gone, and once', async () => {
  const { tags, opened, giveBack } = given();
  const { stag } = await opened(1);
  expect(() => tags.gone(stag, session)).toThrow(expect.objectContaining({ code: 'EPROTO' }));
  giveBack(tags.resolve(stag, session));
  expect([...tags.closing(session)]).toEqual([stag]);
  expect(() => tags.gone(stag, 2)).toThrow(expect.objectContaining({ code: 'ESTALE' }));
  tags.gone(stag, session);
  expect([...tags.closing(session)]).toEqual([]);
  expect(() => tags.gone(stag, session)).toThrow(expect.objectContaining({ code: 'ESTALE' }));
});

test('nothing is left of one that cannot be given', async () => {
  const { tags, open, opened, given: counted, ended } = given();
  counted.mockImplementationOnce(() => {
    throw new Error('the disk is full');
  });
  await expect(open(1)).rejects.toThrow('the disk is full');
  expect([tags.count, [...tags.on(ino)].length]).toEqual([0, 0]);
  await opened(1);
  tags.ended(session);
  expect([counted.mock.calls.length, ended.mock.calls.length]).toEqual([2, 1]);
});
