/** One title in a document, links that lead somewhere, and no trace of the machine a file came from. */
import { posix } from 'node:path';
import type { Finding, Rule, Source } from './source.ts';

export const oneTitle: Rule = (sources) =>
  sources.filter(isDocument).flatMap((file): Finding[] => {
    const titles = proseLines(file).filter(({ text }) => /^# /.test(text));
    if (titles.length === 1) return [];
    const line = titles[1]?.line ?? 1;
    return [{ path: file.path, line, what: `${titles.length} titles`, instead: 'exactly one `# Title`' }];
  });

export const deadLinks: Rule = (sources) => {
  const known = knownPaths(sources);
  return sources.filter(isDocument).flatMap((file) =>
    proseLines(file).flatMap(({ text, line }): Finding[] => {
      const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
      return links
        .filter((target) => !/^[a-z]+:/.test(target) && !leadsSomewhere(file, target, known, sources))
        .map((target) => ({
          path: file.path,
          line,
          what: `dead link '${target}'`,
          instead: 'a path that exists',
        }));
    }),
  );
};

const ourFolders = /^(packages|docs|scripts|test|examples|bench)\/[\w./-]+$/;

export const deadCodePaths: Rule = (sources) => {
  const known = knownPaths(sources);
  return sources.filter(isDocument).flatMap((file) =>
    proseLines(file).flatMap(({ text, line }): Finding[] => {
      const paths = [...text.matchAll(/`([^`]+)`/g)].map(([, path = '']) => path);
      return paths
        .filter((path) => ourFolders.test(path) && !/\/(dist|build|prebuilds|results)\b/.test(path))
        .filter((path) => !known.has(path.replace(/\/$/, '')))
        .map((path) => ({
          path: file.path,
          line,
          what: `\`${path}\` does not exist`,
          instead: 'a path that does',
        }));
    }),
  );
};

/** Home folders of people and of build machines. */
const machineFolders = ['home', 'root', 'Users', 'work', 'workspace', 'builds'];
const machinePath = new RegExp(`(?<![\\w.$*)}\\]-])/(${machineFolders.join('|')})/\\w`);
const registryHost =
  /\b(registry|npm|packages?)\.[\w-]+\.(org|com|net|io|dev)\b|^\s*(resolved|tarball):? "?https?:/;

export const machineTraces: Rule = (sources) =>
  sources.flatMap((file) =>
    file.lines.flatMap((text, index): Finding[] => {
      const at = { path: file.path, line: index + 1 };
      if (machinePath.test(text))
        return [{ ...at, what: 'absolute path of a machine', instead: 'a relative path' }];
      if (registryHost.test(text))
        return [{ ...at, what: 'address of a registry', instead: 'the package name' }];
      return [];
    }),
  );

function isDocument(file: Source): boolean {
  return file.path.endsWith('.md');
}

/** Lines outside code fences. */
function proseLines(file: Source): { text: string; line: number }[] {
  let fenced = false;
  return file.lines.flatMap((text, index) => {
    const fence = /^\s*(```|~~~)/.test(text);
    if (fence) fenced = !fenced;
    return fenced || fence ? [] : [{ text, line: index + 1 }];
  });
}

function leadsSomewhere(
  file: Source,
  target: string,
  known: Set<string>,
  sources: readonly Source[],
): boolean {
  const [path = '', fragment] = target.split('#');
  const full = path === '' ? file.path : posix.join(posix.dirname(file.path), path).replace(/\/$/, '');
  if (!known.has(full)) return false;
  const document = sources.find((each) => each.path === full && isDocument(each));
  if (fragment === undefined || document === undefined) return true;
  return proseLines(document).some(({ text }) => /^#+ /.test(text) && slug(text) === fragment);
}

/** The anchor that code hosts give a heading. */
function slug(heading: string): string {
  const words = heading.replace(/^#+ /, '').trim().toLowerCase();
  return words.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-');
}

/** Files and the folders that hold them. */
function knownPaths(sources: readonly Source[]): Set<string> {
  const known = new Set(['.']);
  for (const { path } of sources) {
    for (let each = path; each !== '.'; each = posix.dirname(each)) known.add(each);
  }
  return known;
}
