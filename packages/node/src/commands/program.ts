/** The command line: every verb, and what `clusterfs --help` teaches. */
import { Command, type CommanderError } from 'commander';
import { version } from '../version.ts';
import { addCat } from './cat.ts';
import { exitCodes } from './failure.ts';
import { addLs } from './ls.ts';
import { addPut } from './put.ts';
import { addServe } from './serve.ts';
import { addStatus } from './status.ts';
import type { Host } from './verb.ts';

/** In the order in which they are listed; each adds itself. */
const verbs: readonly ((program: Command, host: Host) => void)[] = [
  addServe,
  addLs,
  addCat,
  addPut,
  addStatus,
];

const tour = `
Two minutes:
  $ clusterfs serve --memory 1GiB            # in one terminal: a node; in another:
  $ clusterfs put README.md /readme          # a file, into shared memory
  $ clusterfs ls -l /

  // reader.mjs: no copy; any number of processes see the same memory
  import { mount } from 'cluster-fs';
  const fs = await mount();
  const view = await fs.map('/readme');
  view.on('remap', () => console.log('moved; same array, same address', view.address));
  console.log(Buffer.from(view.bytes).toString('utf8', 0, 60));

  $ node reader.mjs &
  $ clusterfs move /readme                   # the file moves under the reader, which goes on
  $ clusterfs put --replace NEWS.md /readme  # and shows its new content at once

Which node: --url, else $CLUSTERFS_URL, else the default socket of your user.

Exit codes: 0 done; 1 failed, one line on stderr says why; 2 called wrongly; 3 no node is there;
  128+n ended by signal n, so 130 after Ctrl-C. \`check\` ends with 1 when it finds something; \`serve\` with 0
  when a signal stops it. A reader that closes the pipe (\`| head\`) is no failure.`;

export function createProgram(host: Host): Command {
  const program = new Command('clusterfs')
    .description('Files in shared memory, mapped in place by many processes, and movable under them.')
    .version(version, '-V, --version', 'the version of this command')
    .helpOption('-h, --help', 'this text, or that of a verb')
    .helpCommand('help [verb]', 'this text, or that of a verb')
    .addHelpText('after', tour)
    .showSuggestionAfterError()
    .exitOverride()
    .configureHelp({ sortOptions: false })
    .configureOutput({ outputError: () => undefined });
  for (const add of verbs) add(program, host);
  return program;
}

/** Runs a command line; the process ends with `process.exitCode`. */
export async function runCommandLine(argv: readonly string[], host: Host): Promise<void> {
  const program = createProgram(host);
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!isCommanderError(error)) throw error;
    if (error.exitCode === 0) return;
    process.exitCode = exitCodes.misuse;
    if (error.code === 'commander.help') return;
    const name = program.commands.find((command) => command.name() === argv[0])?.name();
    const where = name === undefined ? 'clusterfs' : `clusterfs ${name}`;
    const text = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
    process.stderr.write(`${where}: ${text}; see ${where} --help\n`);
  }
}

const isCommanderError = (error: unknown): error is CommanderError =>
  error instanceof Error && 'exitCode' in error && 'code' in error;
