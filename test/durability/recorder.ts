/**
 * What a process did to the files of one directory, in its order: built from recorder.cc, which is preloaded
 * into the process.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { struct, u32, u53 } from '@cluster-fs/transport';

/** In the order of `Kind` in recorder.cc. */
const kinds = [
  'create',
  'write',
  'truncate',
  'punch',
  'extend',
  'flushBegin',
  'flushEnd',
  'rename',
  'unlink',
  'unknown',
  'flushRefused',
] as const;
export type Kind = (typeof kinds)[number];

/** As `Record` in recorder.cc; path and data follow. */
const header = struct('recorded call', 40, {
  kind: u32('from 1, as in `kinds`'),
  thread: u32('who called'),
  ino: u53('of the file on its real disk: the same number may be another file after an unlink'),
  offset: u53('bytes; of truncate the new size'),
  length: u53('bytes, of punch and extend'),
  pathBytes: u32('length of the path'),
  dataBytes: u32('what was written, or the new name, or the call that is not known'),
});

export interface Call {
  readonly kind: Kind;
  readonly thread: number;
  readonly ino: number;
  readonly offset: number;
  readonly length: number;
  readonly path: string;
  readonly data: Buffer;
  /** Where its record ends in the log. */
  readonly end: number;
}

export interface Recorder {
  /** What a process needs in its environment to be recorded. */
  readonly env: Readonly<Record<string, string>>;
  /** Bytes of the log: all that was done before this is before it. */
  position(): number;
  calls(): Call[];
  /** Lets the process die right behind a call: 0 is the next. */
  killBehind(calls: number): void;
  /** The next flush of a file whose name begins with this is EIO, and what it was to flush is lost. */
  refuse(name: string): void;
  /** Whether no flush is still to be refused. */
  hasRefused(): boolean;
  /** Whether the process lives on; then nobody dies any more. */
  spared(): boolean;
  close(): void;
}

/** Builds the recorder for one directory. `flushMs`: how much longer each flush takes. */
export function startRecorder(directory: string, { flushMs = 0 }: { flushMs?: number } = {}): Recorder {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-recorder-'));
  const library = join(home, 'recorder.so');
  const log = join(home, 'log');
  const countdown = join(home, 'countdown');
  const order = join(home, 'refuse');
  const source = fileURLToPath(new URL('recorder.cc', import.meta.url));
  const flags = ['-std=c++17', '-D_GNU_SOURCE', '-O1', '-shared', '-fPIC'];
  execFileSync(process.env.CXX ?? 'g++', [...flags, '-o', library, source]);
  return {
    env: {
      LD_PRELOAD: library,
      CLUSTERFS_RECORD_DIRECTORY: directory,
      CLUSTERFS_RECORD_LOG: log,
      CLUSTERFS_RECORD_COUNTDOWN: countdown,
      CLUSTERFS_RECORD_REFUSE: order,
      CLUSTERFS_RECORD_FLUSH_MS: String(flushMs),
    },
    position: () => statSync(log).size,
    calls: () => readCalls(readFileSync(log)),
    killBehind(calls) {
      writeFileSync(`${countdown}.new`, Uint32Array.of(calls));
      renameSync(`${countdown}.new`, countdown);
    },
    refuse(name) {
      writeFileSync(`${order}.new`, join(directory, name));
      renameSync(`${order}.new`, order);
    },
    hasRefused: () => !existsSync(order),
    spared() {
      const isThere = existsSync(countdown);
      rmSync(countdown, { force: true });
      return isThere;
    },
    close: () => rmSync(home, { recursive: true, force: true }),
  };
}

function readCalls(log: Buffer): Call[] {
  const cursor = header.bind(new DataView(log.buffer, log.byteOffset, log.length));
  const calls: Call[] = [];
  for (let at = 0; at < log.length; ) {
    const { kind, thread, ino, offset, length, pathBytes, dataBytes } = cursor.at(at);
    const pathEnd = at + header.size + pathBytes;
    const path = log.toString('utf8', at + header.size, pathEnd);
    at = pathEnd + dataBytes;
    const name = kinds[kind - 1] ?? 'unknown';
    calls.push({
      kind: name,
      thread,
      ino,
      offset,
      length,
      path,
      data: log.subarray(pathEnd, at),
      end: at,
    });
  }
  return calls;
}
