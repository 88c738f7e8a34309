/**
 * What a verb says, on stdout.
 *
 * INVARIANT: with --json stdout holds JSON and nothing else, and everything else goes to stderr or is not
 * said. Colours and bars are for terminals.
 */
import { once } from 'node:events';
import Table from 'cli-table3';
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
  /** The result for programs; nothing without --json. */
  result(value: unknown): void;
  /** A table for people, in aligned columns; nothing with --json. */
  table(columns: readonly Column[], rows: readonly (readonly string[])[]): void;
  /** Bytes as they are, at the pace of who reads them. */
  write(bytes: Uint8Array | string): Promise<void>;
}

export function createOutput({ json }: { readonly json: boolean }): Output {
  const { stdout, stderr } = process;
  const { NO_COLOR, TERM } = process.env;
  const inColor = stdout.isTTY === true && (NO_COLOR ?? '') === '' && TERM !== 'dumb';
  const colors = pc.createColors(inColor && !json);
  const say = (line: string): void => {
    if (!json) stdout.write(`${line}\n`);
  };
  return {
    json,
    colors,
    isInteractive: stderr.isTTY === true && !json,
    say,
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

const bare = ['top', 'bottom', 'left', 'mid', 'right', 'middle'] as const;
const corners = ['left', 'mid', 'right'] as const;

/** No lines at all: columns are told apart by space, as in `ls -l`. */
const noBorders = Object.fromEntries([
  ...bare.map((name) => [name, '']),
  ...['top', 'bottom'].flatMap((edge) => corners.map((corner) => [`${edge}-${corner}`, ''])),
  ['left-mid', ''],
  ['mid-mid', ''],
  ['right-mid', ''],
]);

/** Rows laid out at a time; the table's own work grows faster than its rows. */
const rowsAtATime = 500;

function layOut(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { bold }: Colors,
): string {
  const hasHead = columns.some(({ head }) => head !== '');
  const lines = hasHead ? [columns.map(({ head }) => bold(head)), ...rows] : [...rows];
  const widths = columns.map((_, i) => lines.reduce((w, row) => Math.max(w, widthOf(row[i] ?? '')), 0) + 2);
  let text = '';
  for (let at = 0; at < lines.length; at += rowsAtATime) {
    const table = new Table({
      chars: noBorders,
      colWidths: widths,
      colAligns: columns.map(({ align = 'left' }) => align),
      style: { 'padding-left': 0, 'padding-right': 2, head: [], border: [], compact: true },
    });
    table.push(...lines.slice(at, at + rowsAtATime).map((row) => [...row]));
    text += `${table.toString().replace(/ +$/gm, '')}\n`;
  }
  return text;
}

/** As wide as cli-table3 finds it: one that is cut ends in an ellipsis. */
function widthOf(cell: string): number {
  const [line] = new Table({ chars: noBorders, style: { 'padding-left': 0, 'padding-right': 0 } }).width
    ? []
    : [cell];
  return line?.length ?? cell.length;
}
