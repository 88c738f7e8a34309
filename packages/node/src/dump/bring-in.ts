/** Looking at a view without the end of the process where the store is damaged. */
import { FsError, type View } from 'cluster-fs';

/**
 * What is damaged in the store is EIO for who asks for it, and the end of the process for who touches it. So
 * ask before a copy.
 */
export async function bringIn(view: View, offset: number, length: number): Promise<void> {
  try {
    await view.willNeed(offset, length);
  } catch (error) {
    // A touch gets its page also where memory is full.
    if (!(error instanceof FsError) || error.code !== 'ENOSPC') throw error;
  }
}
