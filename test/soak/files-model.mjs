/**
 * What the files of one directory must be: names, and the bytes under them. Several names may have one file.
 *
 * INVARIANT: the bytes of a file are never changed in place; new content is another buffer, so what was
 * remembered stays as it was.
 *
 * @typedef {{ bytes: Buffer }} File
 * @typedef {import('../random.mjs').Random} Random
 */

export class FilesModel {
  /** @type {Map<string, File>} */
  #files = new Map();
  #names;

  /** @param {string} directory @param {number} nameCount How many names there are, used or not. */
  constructor(directory, nameCount) {
    this.#names = Array.from({ length: nameCount }, (_, i) => `${directory}/file-${i}`);
  }

  /** A name, whether a file has it or not. @param {Random} random */
  anyName(random) {
    return random.pick(this.#names);
  }

  /** A name that a file has. @param {Random} random */
  usedName(random) {
    const used = this.paths();
    return used.length === 0 ? undefined : random.pick(used);
  }

  paths() {
    return [...this.#files.keys()];
  }

  /** @param {string} path */
  fileOf(path) {
    return this.#files.get(path);
  }

  /** @param {string} path */
  bytesOf(path) {
    return this.#files.get(path)?.bytes;
  }

  /** @param {File} file */
  linksTo(file) {
    return [...this.#files.values()].filter((each) => each === file).length;
  }

  /** New content, for all names of the file. @param {string} path @param {Buffer} bytes */
  write(path, bytes) {
    const file = this.#files.get(path);
    if (file === undefined) this.#files.set(path, { bytes });
    else file.bytes = bytes;
  }

  /**
   * Some new bytes; a gap before them is zeros.
   *
   * @param {string} path
   * @param {Buffer} part
   * @param {number} at
   */
  writeAt(path, part, at) {
    const before = this.#files.get(path)?.bytes ?? Buffer.alloc(0);
    const bytes = Buffer.alloc(Math.max(before.length, at + part.length));
    before.copy(bytes);
    part.copy(bytes, at);
    this.write(path, bytes);
  }

  /** @param {string} path @param {number} size */
  resize(path, size) {
    const bytes = Buffer.alloc(size);
    this.#files.get(path)?.bytes.copy(bytes);
    this.write(path, bytes);
  }

  /** @param {string} from @param {string} to */
  link(from, to) {
    this.#files.set(to, /** @type {File} */ (this.#files.get(from)));
  }

  /** @param {string} path */
  unlink(path) {
    this.#files.delete(path);
  }

  /** Two names of one file both stay (rename(2)). @param {string} from @param {string} to */
  rename(from, to) {
    if (this.#files.get(from) === this.#files.get(to)) return;
    this.link(from, to);
    this.unlink(from);
  }

  /** A function that makes everything as it is now. */
  remember() {
    const files = [...this.#files].map(([path, file]) => ({ path, file, bytes: file.bytes }));
    return () => {
      this.#files.clear();
      for (const { path, file, bytes } of files) {
        file.bytes = bytes;
        this.#files.set(path, file);
      }
    };
  }
}
