/** Names and constructs that have a better replacement here; each message says which. */
import { posix } from 'node:path';
import {
  dottedName,
  finding,
  isNative,
  isNode,
  isPackageSource,
  isTest,
  nodeRule,
  type Rule,
} from './source.ts';

const everywhere = () => true;

export const erasable = nodeRule(everywhere, (node) => {
  if (node.type === 'TSEnumDeclaration') return ['enum', 'an `as const` object'];
  if (node.type === 'TSModuleDeclaration' && node.kind === 'namespace')
    return ['namespace', 'a module of its own'];
  if (node.type === 'TSParameterProperty') return ['parameter property', 'a #private field'];
  return undefined;
});

export const focusedTests = nodeRule(isTest, (node) => {
  if (node.type !== 'CallExpression') return undefined;
  const focused = /^(describe|test|it|suite)\b.*\.only\b/.test(dottedName(node.callee) ?? '');
  return focused ? ['.only(', 'vitest -t to pick a test'] : undefined;
});

const mayPrint = /^(packages\/node\/src\/commands|examples|bench|scripts|packages\/[^/]+\/scripts)\//;

export const consoleCalls = nodeRule(
  (path) => !mayPrint.test(path),
  (node) => {
    const isConsole = node.type === 'MemberExpression' && dottedName(node.object) === 'console';
    return isConsole ? [`${dottedName(node)}`, 'the log, or throw'] : undefined;
  },
);

export const processExit = nodeRule(
  (path) => posix.basename(path) !== 'cli.ts' && !path.includes('/bin/'),
  (node) => {
    const exits = node.type === 'CallExpression' && dottedName(node.callee) === 'process.exit';
    return exits ? ['process.exit(', 'throw, or process.exitCode'] : undefined;
  },
);

const rawAccess =
  /\.((get|set)(Int|Uint|BigInt|BigUint|Float)\d+|(read|write)(U?Int|BigU?Int|Float|Double)\d*(LE|BE)?)$/;

export const rawBytes = nodeRule(
  (path) => isPackageSource(path) && posix.basename(path) !== 'binary.ts',
  (node) => {
    const name = node.type === 'CallExpression' ? rawAccess.exec(dottedName(node.callee) ?? '') : null;
    return name === null ? undefined : [`${name[1]}(`, 'a struct from binary.ts'];
  },
);

export const emptyCatch = nodeRule(everywhere, (node) => {
  const body = node.type === 'CatchClause' && isNode(node.body) ? node.body.body : undefined;
  if (!Array.isArray(body) || body.length > 0) return undefined;
  return ['empty catch', 'a check of error.code that rethrows the rest'];
});

export const sleeps = nodeRule(isTest, (node) => {
  const slept = node.type === 'CallExpression' && dottedName(node.callee) === 'setTimeout';
  return slept ? ['setTimeout( in a test', 'an event, vi.waitFor, or a driven clock'] : undefined;
});

/** Code that must give the same answer for the same bytes: no time, no chance, no waiting. */
const pure = /^packages\/cluster-fs\/src\/segment\//;
const impure =
  /^(Date|performance|process|fetch|Promise|setTimeout|setInterval|setImmediate|queueMicrotask)$/;

export const purity = nodeRule(
  (path) => pure.test(path),
  (node) => {
    if (node.async === true || node.type === 'AwaitExpression')
      return ['async in the segment', 'a plain function'];
    if (node.type === 'MemberExpression' && dottedName(node) === 'Math.random') {
      return ['Math.random in the segment', 'a parameter'];
    }
    const isReference = node.type === 'Identifier' && !isPropertyName(node);
    if (!isReference || !impure.test(String(node.name))) return undefined;
    return [`${String(node.name)} in the segment`, 'a parameter'];
  },
);

export const todo: Rule = (sources) =>
  sources.flatMap((file) => {
    const native = isNative(file.path) ? nativeComments(file.text) : [];
    return [...file.comments(), ...native]
      .filter(({ value }) => /\b(TODO|FIXME|XXX|HACK)\b(?!.*#\d)/.test(value))
      .map(({ start }) => finding(file, start, 'TODO without an issue', '`TODO #123: …`, or do it now'));
  });

function nativeComments(text: string): { value: string; start: number }[] {
  return [...text.matchAll(/\/\/.*|\/\*[\s\S]*?\*\//g)].map(({ 0: value, index }) => ({
    value,
    start: index,
  }));
}

/** `x.Date`, `{ Date: 1 }` and `Date: string` name a property, not the global. */
function isPropertyName(node: { readonly parent: unknown }): boolean {
  const { parent } = node;
  if (!isNode(parent) || parent.computed === true) return false;
  return parent.property === node || (parent.key === node && parent.shorthand !== true);
}
