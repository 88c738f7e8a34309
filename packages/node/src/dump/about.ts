/** Work on many files says which of them failed. */
import { FsError } from '@cluster-fs/transport';

/**
 * Does something with a file. What fails without a path is about that one; so is what names `instead`, under
 * which the file is being made.
 */
export async function about<T>(
  path: string,
  work: () => Promise<T>,
  { instead }: { readonly instead?: string } = {},
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof FsError) || (error.path !== undefined && error.path !== instead)) throw error;
    const { code, syscall, why } = error;
    throw new FsError(code, syscall, { path, why, cause: error });
  }
}
