/**
 * What node:fs has and a mount has not, with the reason. The README quotes these tables, and a test keeps
 * them whole.
 */

const waits =
  'a change is a request to the node: a synchronous call would stop the event loop for its answer';
const descriptors = 'a handle is an object (promises.open): there are no numeric descriptors to work on';
const callbacks = 'the callback form of a promise method: util.callbackify gives it, where it is wanted';

/** Methods of node:fs/promises. */
export const missingPromises: Readonly<Record<string, string>> = {
  glob: 'Node 22 and later: use readdir with recursive, or a glob library over it',
  lchmod: 'Linux has no mode for links; node itself offers it on macOS only',
  mkdtempDisposable: 'Node 24 and later: mkdtemp, and rm in a finally block',
};

/** Functions of node:fs itself. */
export const missingFunctions: Readonly<Record<string, string>> = {
  ...reasonFor(waits, [
    'appendFileSync',
    'chmodSync',
    'chownSync',
    'copyFileSync',
    'cpSync',
    'lchownSync',
    'linkSync',
    'lutimesSync',
    'mkdirSync',
    'mkdtempSync',
    'renameSync',
    'rmSync',
    'rmdirSync',
    'symlinkSync',
    'truncateSync',
    'unlinkSync',
    'utimesSync',
    'writeFileSync',
  ]),
  ...reasonFor(descriptors, [
    'close',
    'closeSync',
    'fchmod',
    'fchmodSync',
    'fchown',
    'fchownSync',
    'fdatasync',
    'fdatasyncSync',
    'fstat',
    'fstatSync',
    'fsync',
    'fsyncSync',
    'ftruncate',
    'ftruncateSync',
    'futimes',
    'futimesSync',
    'openSync',
    'read',
    'readSync',
    'readv',
    'readvSync',
    'write',
    'writeSync',
    'writev',
    'writevSync',
  ]),
  ...reasonFor(callbacks, [
    'access',
    'appendFile',
    'chmod',
    'chown',
    'copyFile',
    'cp',
    'exists',
    'lchown',
    'link',
    'lstat',
    'lutimes',
    'mkdir',
    'mkdtemp',
    'open',
    'opendir',
    'readFile',
    'readdir',
    'readlink',
    'realpath',
    'rename',
    'rm',
    'rmdir',
    'stat',
    'statfs',
    'symlink',
    'truncate',
    'unlink',
    'utimes',
    'writeFile',
  ]),
  ...reasonFor('Node 22 and later: use readdirSync with recursive, or a glob library over it', [
    'glob',
    'globSync',
  ]),
  ...reasonFor('Node 24 and later', ['mkdtempDisposableSync']),
  ...reasonFor('Linux has no mode for links; node itself offers it on macOS only', ['lchmod', 'lchmodSync']),
  ...reasonFor('it polls with stat; watch is told of changes', ['watchFile', 'unwatchFile']),
  ...reasonFor('a Blob over a file of the segment would have to copy it: read it, or map a view', [
    'openAsBlob',
  ]),
};

function reasonFor(reason: string, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, reason]));
}
