/** What a node that came back says of a view, before its answer that names the view has been read. */
import { native } from '@cluster-fs/transport';
import { expect, onTestFinished, test } from 'vitest';
import { mappedLength, reserveMapping } from '../src/client/mapping.ts';
import { OpenViews } from '../src/client/open-views.ts';
import { viewState } from '../src/client/worker-protocol.ts';
import { pageSize } from '../src/segment/index.ts';

/** A view of one page, shown at page 0 of a file whose second page is another. */
function scene() {
  const dataFd = native.createMemfd('renumbered-view', 2 * pageSize);
  const data = native.mapFile({ fd: dataFd, offset: 0, length: 2 * pageSize, protection: 'read-write' });
  const file = new Uint8Array(native.arrayBufferAt(data, 2 * pageSize));
  file.set([1], 0);
  file.set([2], pageSize);
  const said: unknown[] = [];
  const views = new OpenViews({
    userfault: undefined,
    dataFd: () => dataFd,
    say: (name, fields) => said.push([name, fields]),
    tell: (message) => said.push(message.type),
    shown: () => undefined,
  });
  const mapping = reserveMapping({ from: 0, pages: 1, mode: 'r', label: '/file' });
  const extents = [{ filePage: 0, page: 0, count: 1 }];
  const state = new Float64Array(viewState.length);
  const options = { path: '/file', mode: 'r', follow: 'live', offset: 0 } as const;
  const view = views.add({ mapping, options, ino: 2, generation: 1, state, id: 1, extents } as never);
  views.show(view, { from: 0, count: 1, extents });
  const bytes = new Uint8Array(native.arrayBufferAt(mapping.address, pageSize));
  onTestFinished(() => {
    native.unmap(mapping.address, mappedLength(mapping));
    native.unmap(data, 2 * pageSize);
    native.closeDescriptor(dataFd);
  });
  return { views, view, bytes, said };
}

const ofNew = { view: 9, layoutVersion: 5, size: pageSize } as const;
const remap = {
  ...ofNew,
  cause: 'replace',
  serial: 1,
  from: 0,
  count: 1,
  extents: [{ filePage: 0, page: 1, count: 1 }],
} as const;

test('a remap and a change that overtake it are kept', async () => {
  const { views, view, bytes, said } = scene();
  views.forgetNumbers();
  let answer = (): void => undefined;
  const presented = views.leasing(new Promise<void>((resolve) => (answer = resolve)));
  views.onRemap(remap);
  views.onChanged({ ...ofNew, cause: 'replace' });
  views.applyWaiting();
  expect([bytes[0], said]).toEqual([1, []]);
  answer();
  await presented;
  views.renumber(view, ofNew.view);
  views.applyWaiting();
  expect(bytes[0]).toBe(2);
  expect(said).toEqual(['changed', ['ack', { view: ofNew.view, serial: 1 }], 'remapped']);
});

test('what is of no view that anybody waits for is dropped', () => {
  const { views, view, bytes, said } = scene();
  views.forgetNumbers();
  views.onRemap(remap);
  views.onChanged({ ...ofNew, cause: 'replace' });
  views.applyWaiting();
  views.renumber(view, ofNew.view);
  views.applyWaiting();
  expect([bytes[0], said]).toEqual([1, []]);
});
