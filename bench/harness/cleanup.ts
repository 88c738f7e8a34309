/**
 * What has to go when a bench ends, however it ends: temporary directories, processes, sockets.
 *
 * Undone last in, first out; on Ctrl-C too. A bench that is killed with SIGKILL leaves its children to notice
 * that their parent is gone.
 */
type Undo = () => void | Promise<void>;

const undos: Undo[] = [];
let ending: Promise<void> | undefined;

export function onEnd(undo: Undo): void {
  undos.push(undo);
}

/** Undoes everything; safe to call twice. */
export function cleanUp(): Promise<void> {
  ending ??= undoAll();
  return ending;
}

async function undoAll(): Promise<void> {
  for (let undo = undos.pop(); undo !== undefined; undo = undos.pop()) {
    try {
      await undo();
    } catch (error) {
      // What is left must still be undone.
      console.error(error);
    }
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    void cleanUp().then(() => process.kill(process.pid, signal));
  });
}

// A promise that nobody waited for: the bench is over all the same.
process.once('uncaughtException', (error) => {
  console.error(error);
  process.exitCode = 1;
  void cleanUp();
});
