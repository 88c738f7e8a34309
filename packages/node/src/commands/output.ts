/**
 * What a verb says, on stdout.
 *
 * INVARIANT: with --json stdout holds JSON and nothing else. Colours and bars are for terminals.
 */
import { once } from 'node:events';
import { stripVTControlCharacters } from 'node:util';
import pc from 'picocolors';

export type Colors = ReturnType<typeof pc.createColors>;

export interface Column {
  readonly head: string;
  readonly align?: 'left' | 'right';
}

export interface Output {
  readonly json: boolean;
  readonly colors: Colors;
  /** Bars may be drawn on stderr. */
  readonly isInteractive: boolean;
  /** A line for people; nothing with --json. */
  say(line: string): void;
  /** The result for programs, one line of JSON; nothing without --json. */
  result(value: unknown): void;
  /** Aligned columns for people; nothing with --json. */
  table(columns: readonly Column[], rows: readonly (readonly string[])[]): void;
  /** Bytes as they are, at the pace of who reads them. */
  write(bytes: Uint8Array | string): Promise<void>;
}

export function createOutput({ json }: { readonly json: boolean }): Output {
  const { stdout, stderr } = process;
  const { NO_COLOR = '', TERM } = process.env;
  const colors = pc.createColors(stdout.isTTY === true && NO_COLOR === '' && TERM !== 'dumb' && !json);
  return {
    json,
    colors,
    isInteractive: stderr.isTTY === true && !json,
    say: (line) => {
      if (!json) stdout.write(`${line}\n`);
    },
    result: (value) => {
      if (json) stdout.write(`${JSON.stringify(value)}\n`);
    },
    table: (columns, rows) => {
      if (!json && rows.length > 0) stdout.write(layOut(columns, rows, colors));
    },
    write: async (bytes) => {
      if (!stdout.write(bytes)) await once(stdout, 'drain');
    },
  };
}

/** Columns told apart by two spaces, as in `ls -l`; the head is left out when it is empty. */
function layOut(columns: readonly Column[], rows: readonly (readonly string[])[], { bold }: Colors): string {
  const hasHead = columns.some(({ head }) => head !== '');
  const lines = hasHead ? [columns.map(({ head }) => bold(head)), ...rows] : rows;
  const widths = columns.map((_, i) => lines.reduce((w, row) => Math.max(w, widthOf(row[i] ?? '')), 0));
  const text = lines.map((row) => {
    const cells = columns.map(({ align }, i) => {
      const cell = row[i] ?? '';
      const space = ' '.repeat((widths[i] ?? 0) - widthOf(cell));
      return align === 'right' ? space + cell : cell + space;
    });
    return `${cells.join('  ').trimEnd()}\n`;
  });
  return text.join('');
}

/** Characters of East Asian scripts and emoji take two columns, accents none. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]|\p{Emoji_Presentation}/u;
const none = /\p{M}/u;
const plain = /^[\x20-\x7e]*$/;

function widthOf(cell: string): number {
  if (plain.test(cell)) return cell.length;
  let width = 0;
  for (const character of stripVTControlCharacters(cell)) {
    width += wide.test(character) ? 2 : none.test(character) ? 0 : 1;
  }
  return width;
}

/** A name as it may be shown: no control character of it reaches a terminal, or breaks a line in two. */
export const printable = (name: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  name.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
