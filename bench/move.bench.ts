/**
 * Claims: a file moves at the speed of the copy; eight processes that map it are over in a millisecond; a
 * writer hardly notices.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '@cluster-fs/transport';
import type { ClusterFs } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { onEnd } from './harness/cleanup.ts';
import { startCluster, tmpfsDirectory } from './harness/cluster.ts';
import { startClient, startClients } from './harness/processes.ts';
import { elapsed, interleave, median, ratios } from './harness/rounds.ts';

const mebibyte = 2 ** 20;
const pageSize = 4096;

async function run(b: Bench): Promise<void> {
  const large = b.pick(1024, 32) * mebibyte;
  const { fs, url } = await startCluster({ memory: 2 * large + 256 * mebibyte });
  await copying(b, fs, url);
  await swapping(b, fs, url);
  await writing(b, fs, { url, large });
}

async function fill(fs: ClusterFs, path: string, size: number): Promise<void> {
  const part = Buffer.alloc(Math.min(size, 32 * mebibyte), 1);
  const file = await fs.promises.open(path, 'w');
  for (let at = 0; at < size; at += part.length) await file.write(part, 0, part.length, at);
  await file.close();
}

/** Pages of tmpfs outside of any cluster: they are wiped, and filled anew. */
function scratch(length: number) {
  const fd = openSync(join(tmpfsDirectory(), 'pages'), 'w+');
  ftruncateSync(fd, length);
  const content = Buffer.alloc(length, 1);
  onEnd(() => closeSync(fd));
  const wipe = () => native.punchHole(fd, 0, length);
  const copy = () => writeSync(fd, content, 0, length, 0);
  return { wipe, copy };
}

/** The copy against memcpy of warm memory; the whole move against the least that any move has to do. */
async function copying(b: Bench, fs: ClusterFs, url: string): Promise<void> {
  const length = b.pick(256, 8) * mebibyte;
  await fill(fs, '/copied', length);
  await fill(fs, '/stored-into', length);
  const [writer] = await startClients(1, url);
  await writer?.call('map', '/stored-into', { mode: 'rw' });
  await writer?.call('touch');
  const source = Buffer.alloc(length, 1);
  const target = Buffer.alloc(length, 2);
  const pages = scratch(length);
  const speed = (ms: number): number => length / ms / 1e6;
  const fresh = async (): Promise<number> => {
    const copyMs = await elapsed(() => pages.copy());
    return speed(copyMs + (await elapsed(() => pages.wipe())));
  };
  const memcpy = async (): Promise<number> => speed(await elapsed(() => source.copy(target)));
  const moving = (path: string) => {
    const copies: number[] = [];
    const move = async (): Promise<number> => {
      const { copyMs, elapsedMs } = await fs.move(path);
      copies.push(speed(copyMs));
      return speed(elapsedMs);
    };
    return { move, copies };
  };
  const [held, free] = [moving('/stored-into'), moving('/copied')];
  const [rounds, warmup] = [b.pick(9, 3), 1];
  const gbs = await interleave({ held: held.move, free: free.move, memcpy, fresh }, { rounds, warmup });
  const copyRow = (what: string, copies: readonly number[]) => ({
    claim: `the copy, moving ${length / mebibyte} MiB ${what}`,
    unit: 'GB/s' as const,
    ours: copies.slice(-rounds),
    other: { what: 'memcpy between warm buffers', samples: gbs.memcpy },
    ratio: ratios(copies.slice(-rounds), gbs.memcpy),
  });
  const wholeRow = (what: string, ours: readonly number[]) => ({
    claim: `the whole move of ${length / mebibyte} MiB ${what}`,
    unit: 'GB/s' as const,
    ours,
    other: { what: 'pwrite to fresh tmpfs pages, and freeing as many (the limit)', samples: gbs.fresh },
    ratio: ratios(ours, gbs.fresh),
  });
  // Whoever stores waits for the copy; of a file that nobody stores into, the whole is made short.
  b.row({ ...copyRow('under a writer', held.copies), target: { of: 'ratio', atLeast: 0.7 } });
  b.row(copyRow('that nobody waits for', free.copies));
  b.row(wholeRow('under a writer', gbs.held));
  b.row({ ...wholeRow('that nobody waits for', gbs.free), target: { of: 'ratio', atLeast: 0.7 } });
  await writer?.call('unmap');
  for (const path of ['/copied', '/stored-into']) await fs.promises.rm(path);
}

/** From the commit to "all have swapped", and from the call, less the copy. */
async function swapping(b: Bench, fs: ClusterFs, url: string): Promise<void> {
  const length = 64 * 1024;
  await fs.promises.writeFile('/held', Buffer.alloc(length, 1));
  await fs.promises.writeFile('/free', Buffer.alloc(length, 1));
  const clients = await startClients(b.pick(8, 2), url);
  const tell = (operation: string, ...args: unknown[]) =>
    Promise.all(clients.map((client) => client.call(operation, ...args)));
  await tell('map', '/held', { mode: 'rw' });
  await tell('touch');
  const pages = scratch(length);
  /** Milliseconds, the median of some in a row: one alone is too short to be told from what else goes on. */
  const often = async (work: () => unknown, before?: () => void): Promise<number> => {
    const samples: number[] = [];
    for (let i = 0; i < b.pick(20, 5); i++) {
      before?.();
      samples.push(await elapsed(work));
    }
    return median(samples);
  };
  const beyondCopy = (path: string) => async (): Promise<number> => {
    const copyMs = await often(pages.copy, pages.wipe);
    return (await often(() => fs.move(path))) - copyMs;
  };
  const swapped = async (): Promise<number> => {
    const samples: number[] = [];
    for (let i = 0; i < b.pick(20, 5); i++) samples.push((await fs.move('/held')).swapMs);
    return median(samples);
  };
  const contenders = {
    swapped,
    held: beyondCopy('/held'),
    free: beyondCopy('/free'),
    message: () => often(() => tell('touch')),
  };
  const ms = await interleave(contenders, { rounds: b.pick(11, 2), warmup: b.pick(3, 1) });
  const message = { what: 'a message to each of them and back', samples: ms.message };
  b.row({
    claim: `from the commit of a move to the last swap, ${clients.length} processes`,
    unit: 'ms',
    ours: ms.swapped,
    other: message,
    ratio: ratios(ms.message, ms.swapped),
    target: { of: 'ours', atMost: 1 },
  });
  b.row({
    claim: `move 64 KiB that ${clients.length} processes map, from the call, beyond the copy`,
    unit: 'ms',
    ours: ms.held,
    other: message,
    ratio: ratios(ms.message, ms.held),
  });
  b.row({ claim: 'move 64 KiB that nobody maps, beyond the copy', unit: 'ms', ours: ms.free });
  await tell('unmap');
  await Promise.all(clients.map((client) => client.stop()));
}

interface Stall {
  readonly longestMs: number;
  readonly heldMs: number;
}

/** A writer that stores into random pages all the time, while its file moves, and while it does not. */
async function writing(
  b: Bench,
  fs: ClusterFs,
  { url, large }: { url: string; large: number },
): Promise<void> {
  await fill(fs, '/large', large);
  await fs.promises.writeFile('/control', Buffer.alloc(pageSize));
  const control = await fs.map('/control', { mode: 'rw' });
  const words = new Int32Array(control.buffer);
  const writer = startClient();
  await writer.call('mount', url);
  let moveMs = 0;
  const during = async (work: () => Promise<unknown>): Promise<Stall> => {
    words.fill(0);
    const writes = writer.call<Stall>('write', '/large');
    while (Atomics.load(words, 1) === 0) await pause(1);
    // The first touch of each page is a fault of the kernel's: not what is measured.
    await pause(b.pick(300, 20));
    Atomics.store(words, 2, 1);
    moveMs = await elapsed(work);
    Atomics.store(words, 0, 1);
    return writes;
  };
  const stalls = await interleave(
    {
      moving: async () => (await during(() => fs.move('/large'))).longestMs,
      still: async () => (await during(() => pause(moveMs))).longestMs,
    },
    { rounds: b.pick(5, 1), warmup: 1 },
  );
  b.row({
    claim: `longest stall of a busy writer while its ${large / mebibyte} MiB move`,
    unit: 'ms',
    ours: stalls.moving,
    other: { what: 'the same writer, nothing moves', samples: stalls.still },
    target: { of: 'ours', atMost: 20 },
  });
  await writer.stop();
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

await bench(run);
