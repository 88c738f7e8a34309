import { FsError } from 'cluster-fs';
import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { type Host, type MountedRun, nodeVerb, withMount } from './verb.ts';

interface Options {
  readonly recursive?: true;
  readonly force?: true;
}

export function addRm(program: Command, host: Host): void {
  nodeVerb(program, 'rm', {
    summary: 'remove files',
    description: 'Memory that somebody still maps or has open lives until they let go of it.',
    examples: ['clusterfs rm /data/old.bin', 'clusterfs rm -rf /tmp'],
  })
    .argument('<paths...>')
    .option('-r, --recursive', 'directories, with everything below')
    .option('-f, --force', 'what is not there is no failure')
    .action(
      withMount(host, async (run, options: Options, paths: readonly string[]) => {
        const removed: string[] = [];
        for (const path of paths.map(clusterPath)) {
          run.signal.throwIfAborted();
          if (await remove(run, options, path)) removed.push(path);
        }
        run.out.result({ removed });
      }),
    );
}

/** Whether something was there. */
async function remove({ fs }: MountedRun, { recursive, force }: Options, path: string): Promise<boolean> {
  const stats = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined && force === true) return false;
  if (stats?.isDirectory() === true && recursive !== true) {
    throw new FsError('EISDIR', 'rm', { path, why: 'give -r to remove a directory' });
  }
  await fs.promises.rm(path, { recursive: recursive === true, force: force === true });
  return true;
}
