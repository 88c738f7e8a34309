/** The file API of one mount: node:fs, as far as a shared segment can be it. */
import type * as nodeFs from 'node:fs';
import { constants } from 'node:fs';
import type { Backend } from './backend.ts';
import { createContext } from './context.ts';
import { openHandle } from './handle.ts';
import { createPromises, type FilePromises } from './promises.ts';
import { type ReplaceData, type ReplaceOptions, replace } from './replace.ts';
import { openReadStream, openWriteStream } from './streams.ts';
import { createSyncReads, type SyncReads } from './sync.ts';
import { watch } from './watch.ts';

/** Types are node's own, so that code written against node:fs takes this in its place. */
export interface FileApi extends SyncReads {
  readonly promises: FilePromises;
  readonly constants: typeof nodeFs.constants;
  readonly createReadStream: typeof nodeFs.createReadStream;
  readonly createWriteStream: typeof nodeFs.createWriteStream;
  readonly watch: typeof nodeFs.watch;
  /**
   * Publishes new content under a path, made if it is not there: every reader and view has the old or the
   * new, whole. A source that yields chunks may be as large as the segment; when it fails, nothing has
   * changed.
   */
  replace(path: string, data: ReplaceData, options?: ReplaceOptions): Promise<void>;
}

export function createFileApi(backend: Backend): FileApi {
  const context = createContext(backend);
  return {
    ...createSyncReads(context),
    promises: createPromises(context),
    constants,
    replace: (path, data, options) => replace(context, path, data, options),
    createReadStream: (path, options) => openReadStream(context, openHandle, path, options),
    createWriteStream: (path, options) => openWriteStream(context, openHandle, path, options),
    watch: ((path: unknown, options?: unknown, listener?: unknown) =>
      watch(context, path, options, listener)) as unknown as typeof nodeFs.watch,
  };
}
