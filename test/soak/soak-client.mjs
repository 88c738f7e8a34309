/**
 * A client of the soak, as a process: random operations on a directory of its own, compared with a model.
 * Options as JSON in argv; what is chosen depends on the seed alone, as long as no operation is refused.
 *
 *   at … at ──all operations done──▶ worked ──'judge'──▶ judged ──'judge'──▶ …
 *
 * The first byte that is wrong ends it, with the seed and what was done last on stderr.
 */
import { mount } from 'cluster-fs';
import { isOrphan, leave } from '../chaos/parent.mjs';
import { randomOf } from '../random.mjs';
import { FilesModel } from './files-model.mjs';
import { isMixture, judgeAll, judgeFile } from './judge.mjs';
import { operations, Wrong } from './operations.mjs';

/** @typedef {import('./operations.mjs').Step} Step */

const { url, directory, seed, operationCount, tellEvery, outlivesNodes } = JSON.parse(
  process.argv[2] ?? '{}',
);
const nameCount = 20;

/** What refuses an operation as a whole. */
const refusals = ['ENOSPC', 'EBUSY'];
/** What an operation fails with when the node goes; it may have come true or not. */
const losses = outlivesNodes ? ['ECONNRESET', 'ENOTCONN', 'EAGAIN', 'ESTALE', 'ETIMEDOUT'] : [];

const random = randomOf(seed);
const model = new FilesModel(directory, nameCount);
const names = Object.keys(operations);
/** @type {Record<string, number>} */
const counts = {};
/** @type {string[]} */
const history = [];

/** @param {unknown} error */
const codeOf = (error) => /** @type {NodeJS.ErrnoException} */ (error).code ?? '';
/** Whether there is a file that can be right or wrong: chance may have removed or emptied every one. */
const hasContent = () => model.paths().some((path) => (model.bytesOf(path)?.length ?? 0) > 1);
/** @param {string} what */
const count = (what) => {
  counts[what] = (counts[what] ?? 0) + 1;
};

// Unmounted when it is first judged: for who unmounts while the node is away, the next node waits.
/** @type {import('cluster-fs').ClusterFs | undefined} */
let working = await mount(url);
await work(working);
process.on('message', judge);
process.send?.({ kind: 'worked', counts, paths: model.paths() });

/** @param {import('cluster-fs').ClusterFs} fs */
async function work(fs) {
  await fs.promises.mkdir(directory);
  for (let n = 1; (n <= operationCount || !hasContent()) && !isOrphan(); n++) {
    const name = random.pick(names);
    const step = operations[name]?.({ fs, model, random });
    if (step === undefined) continue;
    history.push(`${n} ${name} ${step.paths.join(' ')}`);
    try {
      count(await done(fs, step, name));
    } catch (error) {
      const last = history.slice(-12).join('\n  ');
      throw new Error(`seed ${seed}, ${directory}, the last of\n  ${last}`, { cause: error });
    }
    if (n % tellEvery === 0) process.send?.({ kind: 'at', operation: n });
  }
}

/**
 * What became of a step: its name, or why it was refused.
 *
 * @param {import('cluster-fs').ClusterFs} fs
 * @param {Step} step
 * @param {string} name
 */
async function done(fs, step, name) {
  try {
    await step.act();
  } catch (error) {
    const code = codeOf(error);
    if (losses.includes(code)) {
      await settle(fs, step);
      return `${name} ${code}`;
    }
    if (!refusals.includes(code)) throw error;
    const findings = await insist(fs, () =>
      Promise.all(step.paths.map((path) => judgeFile(fs, path, model))),
    );
    if (findings.flat().length > 0) throw new Wrong(`after ${code}: ${findings.flat().join('; ')}`);
    return `${name} ${code}`;
  }
  step.change?.();
  return name;
}

/**
 * Whether a step of which no answer came was done, found out from the files.
 *
 * @param {import('cluster-fs').ClusterFs} fs
 * @param {Step} step
 */
async function settle(fs, step) {
  const findings = () => insist(fs, () => judgeAll(fs, directory, model));
  const notDone = await findings();
  if (notDone.length === 0) return;
  const forget = model.remember();
  const [path = ''] = step.paths;
  const before = model.bytesOf(path) ?? Buffer.alloc(0);
  step.change?.();
  const isDone = await findings();
  if (isDone.length === 0) return;
  const found = await insist(fs, () => fs.promises.readFile(path));
  if (step.isStepwise && isMixture(found, before, model.bytesOf(path) ?? before)) {
    forget();
    model.write(path, found);
    return;
  }
  throw new Wrong(`neither not done: ${notDone.join('; ')}; nor done: ${isDone.join('; ')}`);
}

/**
 * Tries again while the node is away.
 *
 * @template T
 * @param {import('cluster-fs').ClusterFs} fs
 * @param {() => Promise<T>} look
 * @returns {Promise<T>}
 */
async function insist(fs, look) {
  for (;;) {
    try {
      await fs.status();
      return await look();
    } catch (error) {
      if (!losses.includes(codeOf(error)) || isOrphan()) throw error;
      await new Promise((goOn) => setImmediate(goOn));
    }
  }
}

async function judge(/** @type {'judge' | 'leave'} */ message) {
  if (message === 'leave') {
    leave();
    return;
  }
  const fs = working ?? (await mount(url));
  working = undefined;
  const findings = await judgeAll(fs, directory, model);
  await fs.unmount();
  process.send?.({ kind: 'judged', findings: findings.map((finding) => `seed ${seed}: ${finding}`) });
}
