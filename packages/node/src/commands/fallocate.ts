import { type Command, Option } from 'commander';
import { clusterPath } from './paths.ts';
import { formatSize, parseSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

interface Options {
  readonly punch?: true;
  readonly zero?: true;
  readonly keepSize?: true;
}

export function addFallocate(program: Command, host: Host): void {
  nodeVerb(program, 'fallocate', {
    summary: 'give a range of a file pages, zeros, or a hole',
    description:
      'As fallocate(1). Without --punch or --zero the range gets pages where it has none, and the bytes ' +
      'stay: later writes there cannot fail for lack of space. Live views see zeros at once where zeros ' +
      'come; views that follow by hand keep the old bytes until they advance. A file that somebody maps ' +
      'to write keeps pages in what is punched: they are zeros, and not free.',
    examples: [
      'clusterfs fallocate /data/log 0 1GiB               # room for a gibibyte, now',
      'clusterfs fallocate --punch /data/log 0 64MiB      # forget the first part, free its pages',
      'clusterfs fallocate --zero /data/table 4KiB 8KiB   # zeros, and pages to write to',
      'clusterfs extents /data/log                        # what is left',
    ],
  })
    .argument('<path>')
    .argument('<offset>', 'where the range begins: bytes, or as 64KiB', parseSize)
    .argument('<length>', 'how long it is', parseSize)
    .addOption(
      new Option('--punch', 'a hole: zeros that take no memory; the size of the file stays').conflicts(
        'zero',
      ),
    )
    .option('--zero', 'zeros with pages under them')
    .option('--keep-size', 'do not make the file longer; what lies behind its end is left out')
    .action(
      withMount(host, async ({ fs, out }, options: Options, path: string, offset: number, length: number) => {
        const name = clusterPath(path);
        const keepSize = options.keepSize === true;
        if (options.punch === true) await fs.promises.punchHole(name, offset, length);
        else if (options.zero === true) await fs.promises.zeroRange(name, offset, length, { keepSize });
        else await fs.promises.allocate(name, offset, length, { keepSize });
        const { size, blocks } = fs.statSync(name);
        const held = blocks * 512;
        out.result({ path: name, size, allocated: held });
        out.say(`${name}: ${formatSize(size)}, ${formatSize(held)} held`);
      }),
    );
}
