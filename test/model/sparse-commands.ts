/** Operations on ranges of a file: holes, zeros, pages. All by a handle. */
import fc from 'fast-check';
import { type Command, command, noHandle, slot } from './command.ts';
import { allocate, heldPages as heldPagesOf, punchHole, seek as seekIn, zeroRange } from './fs-model.ts';

const offset = fc.constantFrom(-1, 0, 1, 4095, 4096, 5000, 8192, 12_288, 20_000);
const length = fc.constantFrom(0, 1, 100, 4096, 5000, 8192, 12_288, 30_000);

interface RangeArguments {
  readonly slot: number;
  readonly offset: number;
  readonly length: number;
}

const onModel = { punchHole, zeroRange, allocate };

const change = (weight: number, called: keyof typeof onModel) =>
  command<RangeArguments>({
    weight,
    args: { slot, offset, length },
    model({ model, handles }, args) {
      const handle = handles.get(args.slot);
      return handle === undefined ? noHandle : onModel[called](model, handle, args.offset, args.length);
    },
    async real({ handles, sparse }, args) {
      const handle = handles.get(args.slot);
      return handle === undefined ? noHandle : sparse[called](handle, args.offset, args.length);
    },
  });

const seek = (what: 'data' | 'hole') =>
  command<{ readonly slot: number; readonly offset: number }>({
    weight: 3,
    args: { slot, offset },
    model({ handles }, args) {
      const handle = handles.get(args.slot);
      return handle === undefined ? noHandle : seekIn(handle, args.offset, what);
    },
    async real({ handles, sparse }, args) {
      const handle = handles.get(args.slot);
      return handle === undefined ? noHandle : sparse.seek(handle, args.offset, what);
    },
  });

const heldPages = command<{ readonly slot: number }>({
  weight: 3,
  args: { slot },
  model({ handles }, args) {
    const handle = handles.get(args.slot);
    return handle === undefined ? noHandle : heldPagesOf(handle);
  },
  async real({ handles }, args) {
    const handle = handles.get(args.slot);
    return handle === undefined ? noHandle : (await handle.stat()).blocks / 8;
  },
});

export const ranges = {
  punchHole: change(4, 'punchHole'),
  zeroRange: change(2, 'zeroRange'),
  allocate: change(2, 'allocate'),
};

/**
 * Where there are pages. A copy of a sparse file has other holes on Linux, so these have sequences of their
 * own.
 */
export const looks: Readonly<Record<string, Command<Record<string, unknown>>>> = {
  seekData: seek('data'),
  seekHole: seek('hole'),
  heldPages,
};
