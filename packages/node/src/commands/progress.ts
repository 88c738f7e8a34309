/** A bar on stderr for work that takes long, when a person looks on. */
import { type Options, SingleBar } from 'cli-progress';
import type { Output } from './output.ts';
import { formatSize } from './size.ts';

export interface Progress {
  /** `done` of `total` so far; `note` says more. */
  update(done: number, total: number, note?: string): void;
  /** Removes the bar. Safe to call twice. */
  stop(): void;
}

export interface ProgressOptions {
  readonly label: string;
  /** `bytes` are shown as sizes, anything else as numbers with this word. */
  readonly unit: string;
}

/** Work that is done sooner shows nothing. */
const quietMs = 300;

/** Nothing is drawn unless `out` is for a person. */
export function showProgress({ isInteractive }: Output, { label, unit }: ProgressOptions): Progress {
  if (!isInteractive) return { update: () => undefined, stop: () => undefined };
  const startedMs = performance.now();
  let bar: SingleBar | undefined;
  let stopped = false;
  return {
    update: (done, total, note = '') => {
      if (stopped || performance.now() - startedMs < quietMs) return;
      if (bar === undefined) {
        bar = new SingleBar(barOptions({ label, unit }));
        bar.start(total, done, { note });
      } else {
        bar.setTotal(total);
        bar.update(done, { note });
      }
    },
    stop: () => {
      stopped = true;
      bar?.stop();
    },
  };
}

function barOptions({ label, unit }: ProgressOptions): Options {
  const isBytes = unit === 'bytes';
  const suffix = isBytes ? '' : ` ${unit}`;
  return {
    stream: process.stderr,
    format: `${label} {bar} {percentage}% {value} of {total}${suffix}, {eta_formatted} left {note}`,
    formatValue: (value, _, type) =>
      isBytes && (type === 'value' || type === 'total') ? formatSize(value) : String(value),
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    hideCursor: false,
    // Ctrl-C is handled where the verb runs.
    gracefulExit: false,
    clearOnComplete: true,
    fps: 10,
  };
}
