import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { posix } from 'node:path';
import type { Command } from 'commander';
import { about } from '../dump/about.ts';
import { loadTree } from '../dump/load.ts';
import { countsText } from './dump.ts';
import { Misuse } from './failure.ts';
import { clusterPath } from './paths.ts';
import { showProgress } from './progress.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

interface Options {
  readonly into: string;
  readonly replace?: true;
  readonly keep?: true;
}

export function addLoad(program: Command, host: Host): void {
  nodeVerb(program, 'load', {
    summary: 'bring a dump back into the cluster',
    description:
      'What `clusterfs dump` wrote, with names, holes, links, modes and times; owners too for root, ' +
      'otherwise all belongs to you. Directories that are there are gone into and take the attributes of ' +
      'the dump; anything else that is there is EEXIST, is replaced with --replace, or stays with --keep, ' +
      'as the attributes of directories then do. Each file appears whole. ' +
      'A load that is interrupted, or meets the end of a dump that is not whole, leaves the files ' +
      'that it had finished.',
    examples: [
      'clusterfs load backup.tar',
      'clusterfs load backup.tar --into /restored',
      'clusterfs load --keep backup.tar   # only what is missing',
      'zstd -dc backup.tar.zst | clusterfs load --replace',
    ],
  })
    .argument('[file]', 'a dump on the disk; - for stdin', '-')
    .option('--into <path>', 'the directory to load into; made if need be', '/')
    .option('--replace', 'replace what is there; without it, that is EEXIST')
    .option('--keep', 'keep what is there, and load only what is missing')
    .action(
      withMount(host, async ({ fs, out, signal }, options: Options, file: string) => {
        if (options.keep && options.replace) throw new Misuse('give --keep or --replace, not both');
        if (file === '-' && process.stdin.isTTY === true) throw new Misuse('give a file, or a dump on stdin');
        const total = file === '-' ? 0 : (await stat(file)).size;
        const progress = showProgress(out, { label: 'load', unit: 'bytes' });
        let done = 0;
        try {
          const into = posix.resolve(clusterPath(options.into));
          const source = file === '-' ? process.stdin : createReadStream(file);
          const load = loadTree(fs, source, {
            into,
            replace: options.replace === true,
            keep: options.keep === true,
            owners: process.getuid?.() === 0,
            signal,
            onBytes: (count) => {
              done += count;
              progress.update(done, Math.max(total, done));
            },
          });
          const counts = await about(file === '-' ? 'stdin' : file, () => load);
          out.result({ path: into, ...counts });
          out.say(`loaded ${countsText(counts)} into ${into}`);
        } finally {
          progress.stop();
        }
      }),
    );
}
