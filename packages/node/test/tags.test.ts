/** By which STag a home names a file to a session that was given several. */
import { expect, test } from 'vitest';
import { Tags } from '../src/cluster/tags.ts';

const ino = 7;
const session = 1;
/** The number of a message. */
const next = 5;

function given() {
  const tags = new Tags();
  const give = (asked: number, of = session) => tags.give({ ino, mode: 'r', session: of, asked });
  return { tags, give };
}

test('one that the session has named, whatever else was given', () => {
  for (const named of [0, 1, 2]) {
    const { tags, give } = given();
    const some = [give(1), give(2), give(3)];
    tags.resolve(some[named]?.stag ?? Buffer.alloc(16), session);
    expect(tags.of(ino, session, next)).toBe(some[named]);
  }
});

test('one that is not being given back before one that is', () => {
  const { tags, give } = given();
  const [closing, other] = [give(1), give(2)];
  tags.resolve(closing.stag, session);
  tags.close(closing, next - 1);
  expect(tags.of(ino, session, next)).toBe(other);
  tags.delete(other);
  expect(tags.of(ino, session, next)).toBe(closing);
});

test('the one of before in a message that was sent before it was given back', () => {
  const { tags, give } = given();
  const closing = give(1);
  tags.resolve(closing.stag, session);
  expect(tags.close(closing, next)).toBe(true);
  const later = give(2);
  expect(tags.of(ino, session, next)).toBe(closing);
  // Who gives it back over another link, too, has not heard more.
  expect(tags.close(closing, next + 1)).toBe(false);
  expect(tags.of(ino, session, next + 1)).toBe(later);
});

test('never one of another session', () => {
  const { tags, give } = given();
  tags.resolve(give(1, 2).stag, 2);
  expect(tags.of(ino, session, next)).toBeUndefined();
});

test('the first, when none was named: it came with the file', () => {
  const { tags, give } = given();
  const [first] = [give(1), give(2)];
  expect(tags.of(ino, session, next)).toBe(first);
});
