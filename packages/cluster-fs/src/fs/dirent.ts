/** fs.Dirent: a name in a directory with its type. */
import { fileType } from '../segment/index.ts';

/** What readdir gives with `withFileTypes`, and what a Dir reads. */
export class Dirent<Name extends string | Buffer = string> {
  readonly name: Name;
  /** The directory, as the caller named it. */
  readonly parentPath: string;
  /** The old name of `parentPath`. */
  readonly path: string;
  readonly #type: number;

  constructor(name: Name, parentPath: string, type: number) {
    this.name = name;
    this.parentPath = parentPath;
    this.path = parentPath;
    this.#type = type;
  }

  isFile(): boolean {
    return this.#type === fileType.file;
  }
  isDirectory(): boolean {
    return this.#type === fileType.directory;
  }
  isSymbolicLink(): boolean {
    return this.#type === fileType.symlink;
  }
  isBlockDevice(): boolean {
    return false;
  }
  isCharacterDevice(): boolean {
    return false;
  }
  isFIFO(): boolean {
    return false;
  }
  isSocket(): boolean {
    return false;
  }
}
