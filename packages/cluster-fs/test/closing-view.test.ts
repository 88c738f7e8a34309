/** What a node may still do to the memory of a view that is being closed, and what others find there then. */
import { native } from '@cluster-fs/transport';
import { expect, onTestFinished, test } from 'vitest';
import { reserveMapping } from '../src/client/mapping.ts';
import { OpenViews } from '../src/client/open-views.ts';
import { viewState } from '../src/client/worker-protocol.ts';
import { pageSize } from '../src/segment/index.ts';

const pages = 4;
const length = pages * pageSize;

const userfault = (): number => native.createUserfault().fd;

/** A view that is closed, of which the node has not heard. */
function closing(keepAddresses: boolean) {
  const dataFd = native.createMemfd('closing-view', length);
  const [session, other] = [userfault(), userfault()];
  const nothing = (): void => undefined;
  const says = { say: nothing, tell: nothing, shown: nothing };
  const views = new OpenViews({ userfault: session, dataFd: () => dataFd, ...says });
  const mapping = reserveMapping({ from: 0, pages, mode: 'rw', label: '/file' });
  const extents = [{ filePage: 0, page: 0, count: pages }];
  const state = new Float64Array(viewState.length);
  const options = { path: '/file', mode: 'rw', follow: 'live', offset: 0 } as const;
  const view = views.add({ mapping, options, ino: 2, generation: 1, state, id: 1, extents } as never);
  views.show(view, { from: 0, count: pages, extents });
  const bytes = Buffer.from(native.arrayBufferAt(mapping.address, length));
  bytes.fill(7);
  const arm = (fd: number): void =>
    native.registerUserfault(fd, mapping.address, length, { missing: true, writeProtect: true });
  let hear: (() => void) | undefined;
  const heard = new Promise<void>((resolve) => {
    hear = resolve;
  });
  views.close(view, { keepAddresses, release: () => heard });
  onTestFinished(() => {
    for (const fd of [dataFd, session, other]) native.closeDescriptor(fd);
  });
  return {
    bytes,
    armByNode: () => arm(session),
    armByOther: () => arm(other),
    disarmOther: () => native.unregisterUserfault(other, mapping.address, length),
    hear: () => hear?.(),
  };
}

const codeOf = (what: () => void): string => {
  try {
    what();
    return 'done';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
};

test('a node that has not heard of it arms what nobody uses', async () => {
  const { armByNode, armByOther, hear } = closing(false);
  armByNode();
  expect(codeOf(armByOther)).toBe('EBUSY');
  hear();
  // Nothing is mapped there any more.
  await expect.poll(() => codeOf(armByOther)).toMatch(/^(EINVAL|ENOENT|ENOMEM)$/);
});

test('an array that stays is zeros, and no touch of it waits for a node that has armed it', async () => {
  const { bytes, armByNode, armByOther, disarmOther, hear } = closing(true);
  armByNode();
  expect(codeOf(armByOther)).toBe('EBUSY');
  hear();
  await expect.poll(() => codeOf(armByOther)).toBe('done');
  disarmOther();
  expect(bytes.equals(Buffer.alloc(length))).toBe(true);
});
