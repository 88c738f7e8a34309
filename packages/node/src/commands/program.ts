/** The command line: every verb, and what `clusterfs --help` teaches. */
import { Command, type CommanderError, Help, type Option } from 'commander';
import { version } from '../version.ts';
import { exitCodes } from './failure.ts';
import { fullName, type Host, isCommonOption } from './verb.ts';

type AddVerb = (program: Command, host: Host) => void;

/** In the order in which they are listed; each adds itself. Who calls one does not wait for the others. */
const verbs: Readonly<Record<string, () => Promise<AddVerb>>> = {
  serve: async () => (await import('./serve.ts')).addServe,
  ls: async () => (await import('./ls.ts')).addLs,
  stat: async () => (await import('./stat.ts')).addStat,
  cat: async () => (await import('./cat.ts')).addCat,
  put: async () => (await import('./put.ts')).addPut,
  get: async () => (await import('./get.ts')).addGet,
  dump: async () => (await import('./dump.ts')).addDump,
  load: async () => (await import('./load.ts')).addLoad,
  mkdir: async () => (await import('./mkdir.ts')).addMkdir,
  rm: async () => (await import('./rm.ts')).addRm,
  mv: async () => (await import('./mv.ts')).addMv,
  df: async () => (await import('./df.ts')).addDf,
  extents: async () => (await import('./extents.ts')).addExtents,
  fallocate: async () => (await import('./fallocate.ts')).addFallocate,
  move: async () => (await import('./move.ts')).addMove,
  drain: async () => (await import('./drain.ts')).addDrain,
  rebalance: async () => (await import('./rebalance.ts')).addRebalance,
  defrag: async () => (await import('./defrag.ts')).addDefrag,
  sync: async () => (await import('./sync.ts')).addSync,
  evict: async () => (await import('./evict.ts')).addEvict,
  status: async () => (await import('./status.ts')).addStatus,
  holders: async () => (await import('./holders.ts')).addHolders,
  revoke: async () => (await import('./holders.ts')).addRevoke,
  events: async () => (await import('./events.ts')).addEvents,
  check: async () => (await import('./check.ts')).addCheck,
  fsck: async () => (await import('./fsck.ts')).addFsck,
  cert: async () => (await import('./cert.ts')).addCert,
};

const tour = `
Two minutes:
  $ clusterfs serve --memory 1GiB            # in one terminal: a node; in another:
  $ clusterfs put README.md /readme          # a file, into shared memory
  $ clusterfs ls -l /

  // reader.mjs: no copy; any number of processes see the same memory
  import { mount } from 'cluster-fs';
  const fs = await mount();
  const view = await fs.map('/readme', { reserve: 2 ** 20 });
  view.on('remap', ({ cause }) => console.log(cause, 'under the same address', view.address));
  setInterval(() => console.log(Buffer.from(view.bytes.subarray(0, 30)).toString()), 1000);

  $ node reader.mjs &
  $ clusterfs move /readme                   # its memory moves; the reader goes on, nothing to do
  $ clusterfs put --replace NEWS.md /readme  # the reader's array shows the new content at once
  $ clusterfs holders                        # who maps what

Which node: --url, else $CLUSTERFS_URL, else the default socket of your user.

Exit codes: 0 done; 1 failed, one line on stderr says why; 2 called wrongly; 3 no node is there;
  128+n ended by signal n, so 130 after Ctrl-C. \`check\` ends with 1 when it finds something;
  \`serve\` with 0 when a signal stops it. A reader that closes the pipe (\`| head\`) is no failure.`;

/** With the verb that `word` names, or with all. */
async function createProgram(host: Host, word: string | undefined): Promise<Command> {
  const called = word === undefined || !Object.hasOwn(verbs, word) ? undefined : verbs[word];
  const adds = await Promise.all(
    (called === undefined ? Object.values(verbs) : [called]).map((add) => add()),
  );
  const program = new Command('clusterfs')
    .description('Files in shared memory, mapped in place by many processes, and movable under them.')
    .version(version, '-V, --version', 'the version of this command')
    .helpOption('-h, --help', 'this text, or that of a verb')
    .helpCommand('help [verb]', 'this text, or that of a verb')
    .addHelpText('after', tour)
    .showSuggestionAfterError()
    .exitOverride()
    .configureHelp({ visibleOptions, subcommandTerm })
    .configureOutput({ outputError: () => undefined });
  for (const add of adds) add(program, host);
  return program;
}

function visibleOptions(command: Command): Option[] {
  const options = new Help().visibleOptions(command);
  const isCommon = (option: Option): boolean => isCommonOption(option.attributeName());
  return [...options.filter((option) => !isCommon(option)), ...options.filter(isCommon)];
}

/** `put <local> <path>`: every verb has options, so the list does not say so. */
function subcommandTerm(command: Command): string {
  return new Help().subcommandTerm(command).replace(' [options]', '');
}

/** Runs a command line; the process ends with `process.exitCode`. */
export async function runCommandLine(argv: readonly string[], host: Host): Promise<void> {
  const program = await createProgram(host, argv[0]);
  // Who reads the output may leave (`--help | head`); a verb that runs listens too, and ends.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!isCommanderError(error)) throw error;
    if (error.exitCode === 0) return;
    process.exitCode = exitCodes.misuse;
    if (error.code === 'commander.help') return;
    const where = fullName(commandOf(program, argv));
    const text = error.message
      .replace(/^error: /, '')
      .replace(/\.$/, '')
      .replace(/\s*\n\s*/g, ' ');
    process.stderr.write(`${where}: ${text}; see ${where} --help\n`);
  }
}

/** The verb that was called, as far as it was typed right. */
function commandOf(command: Command, [word, ...more]: readonly string[]): Command {
  const called = command.commands.find((each) => each.name() === word);
  return called === undefined ? command : commandOf(called, more);
}

const isCommanderError = (error: unknown): error is CommanderError =>
  error instanceof Error && 'exitCode' in error && 'code' in error;
