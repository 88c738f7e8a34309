/**
 * The writer of a segment, in a thread of its own: changes and publishes without a pause until it is told
 * to stop. What never changes, and the two states of what does, is known to the readers.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { native } from '@cluster-fs/transport';
import {
  DirectorySlots,
  fileType,
  formatSegment,
  freeChain,
  geometryFor,
  insertDirent,
  removeDirent,
  retargetDirent,
  rootIno,
  SegmentWriter,
  setExtents,
  setText,
} from 'cluster-fs/segment';

const { address, dataSize, inodeCount, stop } = workerData;
const geometry = geometryFor({ dataSize, inodeCount });
const options = { geometry, id: Buffer.alloc(16, 1), epoch: 1, nowMs: 0, nodePid: 1 };
const published = formatSegment(native.arrayBufferAt(address, geometry.metaSize), options);
const writer = new SegmentWriter(formatSegment(new ArrayBuffer(geometry.metaSize), options));
const slots = new DirectorySlots();
const control = new Int32Array(stop);

function make(mode, name) {
  const ino = writer.takeInode();
  Object.assign(writer.touchInode(ino), { mode, nlink: 1, parent: 0 });
  if (name !== undefined)
    insertDirent(writer, slots, { parent: rootIno, name, ino, type: mode & fileType.mask });
  return ino;
}

make(fileType.directory | 0o755);
const kept = Array.from({ length: 40 }, (_, i) => make(fileType.file, `kept ${i}`));
const file = make(fileType.file, 'file');
const link = make(fileType.symlink, 'link');
const [one, two] = [make(fileType.file, 'either'), make(fileType.file)];
const long = 'long name '.repeat(20);

/** Many extents or few: `pages`, `size` and the extents belong together. */
function setFile(many) {
  const count = many ? 150 : 3;
  setExtents(
    writer,
    file,
    Array.from({ length: count }, (_, i) => ({ filePage: i * 2, page: i * 2 + (many ? 1 : 0), count: 1 })),
  );
  writer.touchInode(file).size = count * 2 * 4096;
}

let rounds = 0;
const change = () => {
  const many = rounds % 2 === 0;
  setFile(many);
  freeChain(writer, link);
  setText(writer, link, Buffer.from(many ? 'a'.repeat(3000) : 'b'.repeat(2000)));
  retargetDirent(writer, { parent: rootIno, name: 'either', ino: many ? one : two, type: fileType.file });
  for (let i = 0; i < 10; i++) {
    const name = `${long}${i}`;
    if (many) insertDirent(writer, slots, { parent: rootIno, name, ino: kept[i], type: fileType.file });
    else removeDirent(writer, slots, rootIno, name);
  }
  writer.publish(published);
  rounds++;
};

change();
parentPort.postMessage({ kind: 'ready', file, link, one, two });
while (Atomics.load(control, 0) === 0) change();
parentPort.postMessage({ kind: 'done', rounds });
