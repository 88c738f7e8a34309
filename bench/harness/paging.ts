/** The limit of every touch: children/paging.cc, which brings absent pages and does nothing else. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onEnd } from './cleanup.ts';
import { temporaryDirectory } from './cluster.ts';

const source = fileURLToPath(new URL('../children/paging.cc', import.meta.url));

/** A round of touches: their median, in microseconds. `from`: a file to read, or another process. */
export function startPaging(from: { readonly file: string } | 'tcp'): () => Promise<number> {
  const program = join(temporaryDirectory(), 'paging');
  execFileSync(process.env.CXX ?? 'g++', ['-std=c++17', '-O2', '-Wall', '-o', program, source]);
  const child = spawn(program, from === 'tcp' ? ['tcp'] : ['file', from.file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  onEnd(async () => {
    child.stdin.end();
    await exited;
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => {
    child.stdin.write('\n');
    const { value, done } = await answers.next();
    if (done === true) throw new Error(`${program} has ended`);
    return Number(value);
  };
}
