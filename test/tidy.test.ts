/**
 * Rules about the code itself, that neither the compiler nor the linter knows. A finding is one line:
 * `path:line: what, use what instead`. Every rule has a snippet here that it must find: a rule that cannot
 * fail protects nothing.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import * as banned from './tidy/banned.ts';
import * as imports from './tidy/imports.ts';
import { readRepository } from './tidy/repository.ts';
import * as shape from './tidy/shape.ts';
import { format, type Rule, source } from './tidy/source.ts';
import * as text from './tidy/text.ts';

type Files = Readonly<Record<string, string>>;
interface Expectation {
  readonly rule: Rule;
  readonly bad: Files;
  readonly finds: string;
  readonly good: Files;
}

const segment = 'packages/cluster-fs/src/segment/tree.ts';
const client = 'packages/cluster-fs/src/client/session.ts';
const unit = 'packages/transport/test/frame.test.ts';

const rules: Readonly<Record<string, Expectation>> = {
  'lines fit the screen': {
    rule: shape.lineLength,
    bad: { [client]: `// ${'x'.repeat(108)}` },
    finds: `${client}:1: line of 111 columns, use at most 110`,
    good: { [client]: `// ${'é'.repeat(107)}`, 'README.md': 'x'.repeat(200) },
  },
  'files hold one idea': {
    rule: shape.fileLength,
    bad: { [client]: 'f();\n'.repeat(501) },
    finds: `${client}:501: file of 501 lines, use two files, one idea each`,
    good: { [client]: 'f();\n'.repeat(500) },
  },
  'functions fit a screen': {
    rule: shape.functionLength,
    bad: { [client]: `\nexport function f() {\n${'g();\n'.repeat(69)}}` },
    finds: `${client}:2: function of 71 lines, use at most 70`,
    good: { [unit]: `describe('x', () => {\n${"test('y', () => {});\n".repeat(80)}});` },
  },
  'files say what they hold': {
    rule: shape.fileNames,
    bad: { 'packages/node/src/utils.ts': '' },
    finds: 'packages/node/src/utils.ts:1: file named utils.ts, use the name of what it holds',
    good: { 'packages/node/src/crc32c.ts': '', 'test/tidy.test.ts': '' },
  },
  'types erase': {
    rule: banned.erasable,
    bad: { [client]: 'class Session {\n  constructor(private readonly fd: number) {}\n}' },
    finds: `${client}:2: parameter property, use a #private field`,
    good: { [client]: "declare module 'x';\nconst text = 'enum Color {}';" },
  },
  'no test is focused': {
    rule: banned.focusedTests,
    bad: { [unit]: "test.only('x', () => {});" }, // text that the rule must find; it is never run
    finds: `${unit}:1: .only(, use vitest -t to pick a test`,
    good: { [unit]: "test('only(', () => {});" },
  },
  'libraries do not print': {
    rule: banned.consoleCalls,
    bad: { [client]: 'console.log(1);' },
    finds: `${client}:1: console.log, use the log, or throw`,
    good: { 'packages/node/src/commands/status.ts': 'console.log(1);', [client]: 'log.console(1);' },
  },
  'libraries do not exit': {
    rule: banned.processExit,
    bad: { [client]: 'process.exit(1);' },
    finds: `${client}:1: process.exit(, use throw, or process.exitCode`,
    good: { 'packages/node/src/cli.ts': 'process.exit(1);', [client]: 'process.exitCode = 1;' },
  },
  'layouts are tables': {
    rule: banned.rawBytes,
    bad: { [segment]: 'view.getUint32(4, true);' },
    finds: `${segment}:1: getUint32(, use a struct from binary.ts`,
    good: { 'packages/transport/src/binary.ts': 'view.getUint32(4, true);', [segment]: 'inode.read(view);' },
  },
  'no error is swallowed': {
    rule: banned.emptyCatch,
    bad: { [client]: 'try {\n  f();\n} catch {\n  // gone\n}' },
    finds: `${client}:3: empty catch, use a check of error.code that rethrows the rest`,
    good: { [client]: 'try {\n  f();\n} catch (error) {\n  log(error);\n}' },
  },
  'tests do not sleep': {
    rule: banned.sleeps,
    bad: { [unit]: 'await new Promise((go) => setTimeout(go, 100));' },
    finds: `${unit}:1: setTimeout( in a test, use an event, vi.waitFor, or a driven clock`,
    good: { [client]: 'setTimeout(renew, leaseMs);' },
  },
  'the segment depends on its bytes alone': {
    rule: banned.purity,
    bad: { [segment]: 'export const now = () => Date.now();' },
    finds: `${segment}:1: Date in the segment, use a parameter`,
    good: { [segment]: 'export const f = (o: { Date: number }) => o.Date;', [client]: 'Date.now();' },
  },
  'every TODO has an issue': {
    rule: banned.todo,
    bad: { 'packages/transport/native/mapping.cc': 'int x;\n// TODO: unmap' },
    finds: 'packages/transport/native/mapping.cc:2: TODO without an issue, use `TODO #123: …`, or do it now',
    good: { [client]: "// TODO #7: recall\nconst text = 'TODO';" },
  },
  'dependencies point one way': {
    rule: imports.importDirection,
    bad: { [client]: "import { Coordinator } from '@cluster-fs/node';" },
    finds: `${client}:1: 'cluster-fs' imports '@cluster-fs/node', use only transport <- cluster-fs <- node`,
    good: {
      [client]:
        "import { FsError } from '@cluster-fs/transport';\nawait import('@cluster-fs/node/embedded');",
    },
  },
  'the segment does no I/O': {
    rule: imports.segmentImports,
    bad: { [segment]: "import { open } from 'node:fs';" },
    finds: `${segment}:1: segment imports 'node:fs', use a parameter: the segment does no I/O`,
    good: { [segment]: "import { u32 } from '@cluster-fs/transport';\nimport { inode } from './layout.ts';" },
  },
  'imports are declared': {
    rule: imports.undeclaredImports,
    bad: { [client]: "import { pack } from 'msgpackr';", 'packages/cluster-fs/package.json': '{}' },
    finds: `${client}:1: undeclared import of 'msgpackr', use a dependency in package.json`,
    good: {
      [client]: "import 'a/b';",
      'packages/cluster-fs/package.json': '{ "dependencies": { "a": "1" } }',
    },
  },
  'every file is used': {
    rule: imports.orphans,
    bad: { [client]: '', [unit]: "import '../../cluster-fs/src/client/session.ts';" },
    finds: `${client}:1: file nobody imports, use git rm, or import it`,
    good: {
      [client]: '',
      'packages/cluster-fs/src/client/mount.ts': "new Worker(new URL('./session.js', import.meta.url));",
      'packages/cluster-fs/package.json': '{ "exports": "./dist/client/mount.js" }',
    },
  },
  'documents have one title': {
    rule: text.oneTitle,
    bad: { 'docs/a.md': '# A\n\n# B\n' },
    finds: 'docs/a.md:3: 2 titles, use exactly one `# Title`',
    good: { 'docs/a.md': '# A\n```\n# a comment\n```\n' },
  },
  'links lead somewhere': {
    rule: text.deadLinks,
    bad: { 'docs/a.md': '# A\n[b](b.md)' },
    finds: "docs/a.md:2: dead link 'b.md', use a path that exists",
    good: { 'docs/a.md': '# A b\n[b](../docs/a.md#a-b) [c](https://example.org/x)' },
  },
  'paths in documents exist': {
    rule: text.deadCodePaths,
    bad: { 'docs/a.md': '# A\nsee `packages/node/src/gone.ts`' },
    finds: 'docs/a.md:2: `packages/node/src/gone.ts` does not exist, use a path that does',
    good: { 'docs/a.md': '# A\nsee `docs/a.md`, `docs/`, `packages/*/src` and `packages/node/dist/x.js`' },
  },
  'nothing tells of a machine': {
    rule: text.machineTraces,
    bad: { 'docs/a.md': ['# A', `see ${['', 'home', 'ann', 'fs'].join('/')}`].join('\n') },
    finds: 'docs/a.md:2: absolute path of a machine, use a relative path',
    good: { 'docs/a.md': '# A\nsee src/home/x, /tmp/x, https://example.org/home/x' },
  },
};

const repository = readRepository(join(dirname(fileURLToPath(import.meta.url)), '..'));

describe('tidy', () => {
  test.each(Object.entries(rules))('%s', (_, { rule }) => {
    const findings = rule(repository).map(format);
    if (findings.length > 0) expect.fail(`${findings.length} to tidy\n${findings.join('\n')}`);
  });
});

describe('tidy canaries: each rule finds its bad snippet and leaves the good one alone', () => {
  test.each(Object.entries(rules))('%s', (_, { rule, bad, finds, good }) => {
    expect(check(rule, bad)).toContain(finds);
    expect(check(rule, good)).not.toContainEqual(expect.stringContaining(Object.keys(good)[0] ?? ''));
  });

  test('an address of a registry is a trace of a machine', () => {
    const address = `https://registry.${'example'}.org/a.tgz`;
    expect(check(text.machineTraces, { 'a.yaml': `tarball: ${address}` })).toHaveLength(1);
  });
});

function check(rule: Rule, files: Files): string[] {
  return rule(Object.entries(files).map(([path, content]) => source(path, content))).map(format);
}
