/**
 * What all verbs have in common: their options, a mount while they run, and how they end.
 *
 *   running ──done──▶ unmounted ──▶ exit 0
 *      │ fails, or Ctrl-C aborts `signal`: what is half done is undone
 *      └──▶ unmounted ──▶ one line, exit as failure.ts says      (second Ctrl-C, or no end in time: exit at
 *      once)
 */
import { realpathSync } from 'node:fs';
import { FsError } from '@cluster-fs/transport';
import type { ClusterFs, MountOptions } from 'cluster-fs';
import { defaultUrl, socketFor } from 'cluster-fs/address';
import type { Command } from 'commander';
import { exitCodeOf, failureOf, Interrupted, OutputClosed, type StopSignal, stopSignals } from './failure.ts';
import { createOutput, type Output } from './output.ts';

/** The process around the verbs. */
export interface Host {
  /** Ends the process at once. */
  exit(code: number): never;
}

/** What a verb has while it runs. */
export interface Run {
  readonly out: Output;
  /** Aborted by Ctrl-C, when nobody reads the output any more, or when the node is lost. */
  readonly signal: AbortSignal;
  readonly host: Host;
}

export interface MountedRun extends Run {
  readonly fs: ClusterFs;
  readonly url: string;
}

export interface Help {
  /** One line, for the list of verbs. */
  readonly summary: string;
  /** What more there is to know. */
  readonly description?: string;
  /** Command lines as one would type them; what follows `#` explains. */
  readonly examples: readonly string[];
}

export const limits = {
  /** How long an interrupted verb may take to clean up. Whatever it leaves, the node takes back. */
  cleanUpMs: 2000,
  /** How long a verb waits for a node that went away in the middle of it. */
  reconnectMs: 3000,
} as const;

/** Starts a verb: its help is complete, arguments, options and the action are the caller's. */
export function verb(program: Command, usage: string, { summary, description, examples }: Help): Command {
  const lines = examples.map((line) => `  $ ${line}\n`).join('');
  return program
    .command(usage)
    .summary(summary)
    .description([sentence(summary), ...(description === undefined ? [] : [description])].join('\n\n'))
    .addHelpText('after', `\n${examples.length === 1 ? 'Example' : 'Examples'}:\n${lines}`.trimEnd())
    .option('--json', 'say it in JSON, for programs');
}

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

/** Options that every verb has come last in its help. */
export const isCommonOption = (name: string): boolean => ['json', 'url', 'help'].includes(name);

/** A verb that works on the file system of a node that runs. */
export function nodeVerb(program: Command, usage: string, help: Help): Command {
  return verb(program, usage, help).option(
    '--url <url>',
    'the node: unix:PATH, or a directory that a node serves (default: $CLUSTERFS_URL, or the default socket)',
  );
}

interface CommonOptions {
  readonly json?: true;
  readonly url?: string;
}

/** The action of a verb: `work` with a mount. */
export function withMount<A extends readonly unknown[], O extends object>(
  host: Host,
  work: (run: MountedRun, options: O, ...args: A) => Promise<void>,
) {
  return (...given: readonly unknown[]): Promise<void> => {
    const { command, common, options, args } = split<A, O>(given);
    const url = common.url ?? defaultUrl();
    const json = common.json === true;
    return perform({ host, command, url, json, isServer: false }, async (run, lose) => {
      const fs = await mountAsAllowed(attachUrl(url), {
        label: `clusterfs ${command.name()}`,
        reconnectMs: limits.reconnectMs,
      });
      fs.once('lost', lose);
      try {
        await work({ ...run, fs, url }, options, ...args);
      } finally {
        await fs.unmount();
      }
    });
  };
}

/**
 * Who may only read gets a mount to read: verbs that change something are refused one by one. Where nodes
 * join a verb comes as one of them, with nothing to prove it.
 */
async function mountAsAllowed(url: string, options: MountOptions): Promise<ClusterFs> {
  // A node starts without what its clients need.
  const { mount } = await import('cluster-fs');
  try {
    return await mount(url, options);
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    if (error.code === 'EROFS') return mount(url, { ...options, access: 'r' });
    const isTurnedAway = error.syscall === 'connect' && error.code !== 'ECONNREFUSED';
    if (!url.startsWith('tcp:') || !isTurnedAway) throw error;
    const why = 'a verb has no token and no certificate: give the unix:PATH of a node of this host';
    throw new FsError(error.code, 'connect', { path: url, why, cause: error });
  }
}

/**
 * A directory stands for the node that serves it; a command line never becomes that node, as `mount` would.
 */
const attachUrl = (url: string): string =>
  /^[a-z][a-z0-9+.-]*:/i.test(url) ? url : `unix:${socketFor(realpathSync(url))}`;

/**
 * The action of a verb that is a server: it may take its time to stop, and goes on when nobody reads its
 * output.
 */
export function asServer<O extends object>(
  host: Host,
  work: (run: Run, options: O) => Promise<void>,
  /** The node that it needs, if any. */
  needs: (options: O) => string | undefined = () => undefined,
) {
  return (...given: readonly unknown[]): Promise<void> => {
    const { command, common, options } = split<[], O>(given);
    const json = common.json === true;
    const url = needs(options);
    return perform({ host, command, url, json, isServer: true }, (run) => work(run, options));
  };
}

/** The action of a verb that works without a node, and ends by itself. */
export function withoutNode<A extends readonly unknown[], O extends object>(
  host: Host,
  work: (run: Run, options: O, ...args: A) => Promise<void>,
) {
  return (...given: readonly unknown[]): Promise<void> => {
    const { command, common, options, args } = split<A, O>(given);
    const json = common.json === true;
    return perform({ host, command, url: undefined, json, isServer: false }, (run) =>
      work(run, options, ...args),
    );
  };
}

/** Commander calls an action with the arguments, then the options, then the command. */
function split<A extends readonly unknown[], O>(given: readonly unknown[]) {
  return {
    command: given.at(-1) as Command,
    common: given.at(-2) as CommonOptions,
    options: given.at(-2) as O,
    args: given.slice(0, -2) as unknown as A,
  };
}

interface Performance {
  readonly host: Host;
  readonly command: Command;
  readonly url: string | undefined;
  readonly json: boolean;
  readonly isServer: boolean;
}

async function perform(
  { host, command, url, json, isServer }: Performance,
  work: (run: Run, lose: (reason: Error) => void) => Promise<void>,
): Promise<void> {
  const controller = new AbortController();
  const { signal } = controller;
  const removeHandlers = handleEnds(controller, { host, isServer });
  try {
    await work({ out: createOutput({ json }), signal, host }, (reason) => controller.abort(reason));
  } catch (error) {
    // What an aborted verb throws is about the abort; its reason is what happened.
    const { code, line } = failureOf(signal.aborted ? signal.reason : error, url);
    if (line !== undefined) process.stderr.write(`${fullName(command)}: ${line}\n`);
    process.exitCode = code;
  } finally {
    removeHandlers();
  }
}

/** `clusterfs cert init`: as it was typed. */
export const fullName = (command: Command): string =>
  command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;

/** Signals and a closed stdout abort the verb; the second signal does not wait. */
function handleEnds(
  controller: AbortController,
  { host, isServer }: { readonly host: Host; readonly isServer: boolean },
): () => void {
  const stop = (name: StopSignal): void => {
    const code = exitCodeOf(name);
    if (controller.signal.aborted) host.exit(code);
    controller.abort(new Interrupted(name));
    if (!isServer) setTimeout(() => host.exit(code), limits.cleanUpMs).unref();
  };
  const onOutputError = (error: NodeJS.ErrnoException): void => {
    if (!isServer) controller.abort(error.code === 'EPIPE' ? new OutputClosed() : error);
  };
  for (const name of stopSignals) process.on(name, stop);
  process.stdout.on('error', onOutputError);
  // Stays on stdout: a pipe can still break when all is said and done.
  return () => {
    for (const name of stopSignals) process.off(name, stop);
  };
}
