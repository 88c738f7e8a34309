/** What a sync does: at this node, and at the others that have a part in it. */

import { setTimeout as pause } from 'node:timers/promises';
import type { Reply } from '@cluster-fs/transport';
import { wholeFile } from '../store/stored.ts';
import type { Coordinator } from './coordinator.ts';

/** Without a store nothing is durable, and nobody is kept waiting for it. */
export async function sync(c: Coordinator, ino: number | undefined): Promise<Reply<'sync'>> {
  if (c.writeBack === undefined) {
    await bringHome(c, ino);
    return { durable: false, pages: 0 };
  }
  const elsewhere = ino === undefined ? ((await c.stores?.all()) ?? 0) : 0;
  const pages = await syncHere(c, ino);
  if (ino !== undefined) await c.stores?.names(ino);
  return { durable: true, pages: pages + elsewhere };
}

/** Stores a file of this node, or all of them; how many pages that were. */
export async function syncHere(c: Coordinator, ino: number | undefined): Promise<number> {
  await bringHome(c, ino);
  return (await (ino === undefined ? c.writeBack?.sync() : c.writeBack?.syncFile(ino)))?.pages ?? 0;
}

/** How long a node that stops waits for others: until the lease of one is over that is gone, and longer. */
export const standDownMs = 6000;

/** Before the end: what other nodes have of the files here is taken back, and they get nothing more. */
export async function takeHome(c: Coordinator): Promise<void> {
  const { blocks } = c;
  if (blocks === undefined) return;
  blocks.lendNothing();
  const shared = [...blocks.sharedFiles()].filter((ino) => blocks.isOwn(ino));
  const taken = shared.map((ino) => blocks.acquire(ino, wholeFile, 'write'));
  await Promise.race([Promise.allSettled(taken), pause(standDownMs, undefined, { ref: false })]);
}

/** What other nodes have stored and not sent yet is here from now on, and outlives them. */
export async function bringHome(c: Coordinator, ino: number | undefined): Promise<void> {
  const shared = [...(c.blocks?.sharedFiles() ?? [])].filter((each) => ino === undefined || each === ino);
  // What has got another home since it was listed is that one's to bring.
  const bring = async (each: number): Promise<void> => {
    if (c.blocks?.isOwn(each) === true) await c.holding(each, 'read', () => undefined);
  };
  await Promise.all(shared.map((each) => c.keeping(each, () => bring(each))));
}
