import { type Extent, FsError } from 'cluster-fs';
import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { count, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

const pageSize = 4096;

export function addExtents(program: Command, host: Host): void {
  nodeVerb(program, 'extents', {
    summary: 'where a file lies in the segment',
    description: 'Pages have 4 KiB. What is in no extent is a hole: it reads as zeros and takes no memory.',
    examples: ['clusterfs extents /models/model.bin'],
  })
    .argument('<path>')
    .action(
      withMount(host, async ({ fs, out }, _: object, path: string) => {
        const name = clusterPath(path);
        const stats = fs.statSync(name);
        if (stats.isDirectory()) throw new FsError('EISDIR', 'extents', { path: name });
        const { size } = stats;
        const extents = fs.extents(name).map(({ filePage, page, count: pages }) => ({
          filePage,
          page,
          count: pages,
        }));
        out.result({ path: name, size, pageSize, extents });
        const held = extents.reduce((sum, extent) => sum + extent.count, 0) * pageSize;
        const sparse = held < size ? `, ${formatSize(held)} held` : '';
        out.say(`${name}: ${formatSize(size)} in ${count(extents.length, 'extent')}${sparse}`);
        out.table(
          ['FILE PAGE', 'SEGMENT PAGE', 'PAGES', 'SIZE'].map((head) => ({ head, align: 'right' })),
          withHoles(extents, Math.ceil(size / pageSize)).map(({ filePage, page, count: pages }) => [
            String(filePage),
            page === undefined ? 'hole' : String(page),
            String(pages),
            formatSize(pages * pageSize),
          ]),
        );
      }),
    );
}

/** Extents, and what lies between them and up to the end of the file, with no page. */
function withHoles(extents: readonly Extent[], end: number) {
  const rows: { filePage: number; page: number | undefined; count: number }[] = [];
  let next = 0;
  const hole = (until: number): void => {
    if (until > next) rows.push({ filePage: next, page: undefined, count: until - next });
  };
  for (const extent of extents) {
    hole(extent.filePage);
    rows.push(extent);
    next = extent.filePage + extent.count;
  }
  hole(end);
  return rows;
}
