/** A file as the rules see it: path, text, and the syntax tree, so that no rule is fooled by a string. */
import { parseSync } from 'vite';

export interface Source {
  /** From the repository's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
  /** Nodes in source order; empty for what is neither TypeScript nor JavaScript. */
  nodes(): readonly Node[];
  comments(): readonly Comment[];
  /** One-based. */
  lineAt(offset: number): number;
}

/** An ESTree node (TypeScript's are named TS…), with the parent that leads to it. */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly parent: Node | undefined;
  readonly [key: string]: unknown;
}

export interface Comment {
  readonly value: string;
  readonly start: number;
}

export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly what: string;
  readonly instead: string;
}

/** A rule looks at all files at once, because some of them are about how files refer to each other. */
export type Rule = (sources: readonly Source[]) => Finding[];

export function source(path: string, text: string): Source {
  const lines = text.split('\n');
  const starts = [0];
  for (const line of lines) starts.push((starts.at(-1) ?? 0) + line.length + 1);
  let parsed: { nodes: Node[]; comments: readonly Comment[] } | undefined;
  const parse = () => {
    parsed ??= isScript(path) ? parseScript(path, text) : { nodes: [], comments: [] };
    return parsed;
  };
  return {
    path,
    text,
    lines,
    nodes: () => parse().nodes,
    comments: () => parse().comments,
    lineAt: (offset) => starts.findIndex((start) => start > offset),
  };
}

export function isScript(path: string): boolean {
  return /\.(ts|mts|js|mjs)$/.test(path);
}

export function isNative(path: string): boolean {
  return /\.(cc|h)$/.test(path);
}

export function isTest(path: string): boolean {
  return path.startsWith('test/') || /^packages\/[^/]+\/test\//.test(path);
}

export function isPackageSource(path: string): boolean {
  return /^packages\/[^/]+\/src\//.test(path);
}

export function finding(file: Source, offset: number, what: string, instead: string): Finding {
  return { path: file.path, line: file.lineAt(offset), what, instead };
}

export function format({ path, line, what, instead }: Finding): string {
  return `${path}:${line}: ${what}, use ${instead}`;
}

/** A rule that looks at one kind of node in one kind of file. */
export function nodeRule(
  applies: (path: string) => boolean,
  look: (node: Node, file: Source) => readonly [what: string, instead: string] | undefined,
): Rule {
  return (sources) =>
    sources
      .filter((file) => isScript(file.path) && applies(file.path))
      .flatMap((file) =>
        file.nodes().flatMap((node) => {
          const found = look(node, file);
          return found === undefined ? [] : [finding(file, node.start, ...found)];
        }),
      );
}

/** The name behind `f(…)`, `a.f(…)`, `a.b.f(…)`: dotted, or undefined when it is computed. */
export function dottedName(node: unknown): string | undefined {
  if (!isNode(node)) return undefined;
  if (node.type === 'Identifier') return String(node.name);
  if (node.type === 'ThisExpression') return 'this';
  if (node.type === 'Super') return 'super';
  if (node.type !== 'MemberExpression' || node.computed === true) return undefined;
  const property = isNode(node.property) ? String(node.property.name) : '';
  return `${dottedName(node.object) ?? '?'}.${property}`;
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && 'start' in value;
}

function parseScript(path: string, text: string): { nodes: Node[]; comments: readonly Comment[] } {
  const { program, comments, errors } = parseSync(path, text);
  const [error] = errors;
  if (error !== undefined) throw new Error(`${path}: ${error.message}`);
  const nodes: Node[] = [];
  visit(program, undefined, nodes);
  return { nodes, comments };
}

function visit(value: unknown, parent: Node | undefined, nodes: Node[]): void {
  if (Array.isArray(value)) {
    for (const each of value) visit(each, parent, nodes);
  } else if (isNode(value)) {
    const children = Object.entries(value);
    const node = Object.assign(value, { parent });
    nodes.push(node);
    for (const [key, child] of children) if (key !== 'parent') visit(child, node, nodes);
  }
}
