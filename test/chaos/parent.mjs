/** A program of a test does not outlive the test, however that ends. */
const parent = process.ppid;
const orphaned = () => process.kill(process.pid, 'SIGKILL');

process.on('disconnect', orphaned);

/** For those who do not return to their event loop, and so do not hear it. */
export const isOrphan = () => process.ppid !== parent;

/** Ends the program in good order: when nothing else keeps it, it exits. */
export function leave() {
  process.off('disconnect', orphaned);
  process.disconnect();
}
