/** How long things may be, and what files may be called. */
import { posix } from 'node:path';
import {
  dottedName,
  type Finding,
  finding,
  isNative,
  isNode,
  isScript,
  type Node,
  type Rule,
  type Source,
} from './source.ts';

const limits = { columns: 110, fileLines: 500, functionLines: 70 };

export const lineLength: Rule = (sources) =>
  sources.filter(isCode).flatMap((file) =>
    file.lines.flatMap((line, index): Finding[] => {
      const columns = [...line].length;
      if (columns <= limits.columns) return [];
      const what = `line of ${columns} columns`;
      return [{ path: file.path, line: index + 1, what, instead: `at most ${limits.columns}` }];
    }),
  );

export const fileLength: Rule = (sources) =>
  sources.filter(isCode).flatMap((file): Finding[] => {
    const count = file.lines.length - 1;
    if (count <= limits.fileLines) return [];
    return [
      { path: file.path, line: count, what: `file of ${count} lines`, instead: 'two files, one idea each' },
    ];
  });

export const functionLength: Rule = (sources) =>
  sources.flatMap((file) =>
    file.nodes().flatMap((node): Finding[] => {
      if (!/^(Function|ArrowFunction)/.test(node.type)) return [];
      const count = file.lineAt(node.end) - file.lineAt(node.start) + 1;
      if (count <= limits.functionLines || holdsTests(node, file)) return [];
      return [finding(file, node.start, `function of ${count} lines`, `at most ${limits.functionLines}`)];
    }),
  );

export const fileNames: Rule = (sources) =>
  sources.filter(isCode).flatMap((file): Finding[] => {
    const name = posix.basename(file.path);
    const vague = /^(utils?|helpers?|common|types|misc|shared)\.[a-z]+$/.test(name);
    if (vague)
      return [{ path: file.path, line: 1, what: `file named ${name}`, instead: 'the name of what it holds' }];
    const kebab = /^[a-z0-9]+([-.][a-z0-9]+)*$/.test(name) || isNative(file.path);
    return kebab ? [] : [{ path: file.path, line: 1, what: `file named ${name}`, instead: 'kebab-case' }];
  });

/** A suite is a list of tests; its length says nothing about how hard it is to read. */
function holdsTests(node: Node, file: Source): boolean {
  return file.nodes().some((inner) => {
    if (inner.type !== 'CallExpression' || inner.start < node.start || inner.end > node.end) return false;
    const callee =
      isNode(inner.callee) && inner.callee.type === 'CallExpression' ? inner.callee.callee : inner.callee;
    return /^(describe|test|it)\b/.test(dottedName(callee) ?? '');
  });
}

function isCode(file: Source): boolean {
  return isScript(file.path) || isNative(file.path);
}
