import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { documents, fill } from '../scripts/docs.ts';

const root = new URL('../', import.meta.url);

it.each(documents)('%s says what the tables in the code say (npm run docs writes it)', (path) => {
  const text = readFileSync(new URL(path, root), 'utf8');
  expect(text).toBe(fill(text));
});

it('notices a generated part that is out of date', () => {
  const stale = '<!-- generated: limits -->\n\nold\n\n<!-- end -->';
  expect(fill(stale)).not.toBe(stale);
});

it('refuses a generated part that nobody makes', () => {
  expect(() => fill('<!-- generated: nothing --><!-- end -->')).toThrow('nothing');
});
