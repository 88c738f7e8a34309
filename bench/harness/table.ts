/** What a bench has to say: rows of one table, the same whether one file ran or all. */
import { type Spread, spreadOf } from './rounds.ts';

export type Unit = 'ns' | 'us' | 'ms' | '/s' | 'GB/s' | 'MiB';

/** One line of the table. Figures are one per round. */
export interface Row {
  readonly claim: string;
  readonly unit: Unit;
  readonly ours: readonly number[];
  /** What a user would otherwise take, or what the machine can do at best. */
  readonly other?: { readonly what: string; readonly samples: readonly number[] };
  /** How `ours` compares, one per round. */
  readonly ratio?: readonly number[];
  /** What is promised of the median; a row without a target is there for orientation. */
  readonly target?: Target;
}

export interface Target {
  readonly of: 'ours' | 'ratio';
  readonly atLeast?: number;
  readonly atMost?: number;
  /** One of the two is enough. */
  readonly or?: Target;
}

/** Whether the median keeps what is promised; undefined where nothing is. */
export function isMet({ ours, ratio = [], target }: Row): boolean | undefined {
  return target && keeps(ours, ratio, target);
}

function keeps(ours: readonly number[], ratio: readonly number[], target: Target): boolean {
  const { of, atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY, or } = target;
  const { median } = spreadOf(of === 'ours' ? ours : ratio);
  const isKept = median >= atLeast && median <= atMost;
  return isKept || (or !== undefined && keeps(ours, ratio, or));
}

/** Three digits that count. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en');
  return value === 0
    ? '0'
    : value
        .toPrecision(3)
        .replace(/(\.\d*?)0+$/, '$1')
        .replace(/\.$/, '');
}

const withSpread = ({ median, min, max }: Spread): string =>
  `${figure(median)} (${figure(min)}..${figure(max)})`;

function targetText(unit: Unit, target: Target | undefined): string {
  if (target === undefined) return '';
  const { of, atLeast, atMost, or } = target;
  const suffix = of === 'ours' ? ` ${unit}` : '';
  const text =
    atLeast === undefined ? `<= ${figure(atMost ?? 0)}${suffix}` : `>= ${figure(atLeast)}${suffix}`;
  return or === undefined ? text : `${text}, or ${targetText(unit, or)}`;
}

function cellsOf(row: Row): string[] {
  const { claim, unit, ours, other, ratio, target } = row;
  const met = isMet(row);
  return [
    claim,
    `${withSpread(spreadOf(ours))} ${unit}`,
    other === undefined ? '' : `${figure(spreadOf(other.samples).median)} ${unit}  ${other.what}`,
    ratio === undefined ? '' : withSpread(spreadOf(ratio)),
    targetText(unit, target),
    met === undefined ? '' : met ? 'yes' : 'NO',
  ];
}

const headings = ['claim', 'ours (min..max)', 'other', 'ratio (min..max)', 'target', 'met'];

/** The rows as a table, in Markdown so that it can be pasted into a document. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [headings, ...rows.map(cellsOf)];
  const widths = headings.map((_, column) => Math.max(...lines.map((cells) => (cells[column] ?? '').length)));
  const [head, ...body] = lines.map(
    (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`,
  );
  return [head, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body].join('\n');
}
