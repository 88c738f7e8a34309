/**
 * A session spoken by hand, for clients that do what the library never does.
 */
import { Connection, native, protocolVersion } from '@cluster-fs/transport';
import { layoutHash } from 'cluster-fs/segment';

/**
 * @typedef {import('@cluster-fs/transport').Requests} Requests
 * @typedef {import('@cluster-fs/transport').FieldsOf<Requests['hello']['fields']>} Hello
 */

/** @type {Hello} */
export const goodHello = {
  protocol: protocolVersion,
  layoutHash,
  pid: process.pid,
  access: 'rw',
  label: 'by hand',
  kernelFaults: false,
  onHomeLoss: 'wait',
};

/**
 * Connects and says hello. Descriptors that come back are in `descriptors`: meta and data.
 *
 * @param {string} socketPath
 * @param {{ hello?: Partial<Hello>, userfault?: number, handlers?:
 * import('@cluster-fs/transport').ConnectionHandlers }} options
 */
export async function openRawSession(socketPath, { hello = {}, userfault, handlers = {} } = {}) {
  const connection = new Connection(native.connectUnix(socketPath), handlers);
  /** @type {readonly number[]} */
  let descriptors = [];
  const welcome = await connection
    .request(
      'hello',
      { ...goodHello, ...hello },
      {
        descriptors: userfault === undefined ? [] : [userfault],
        onDescriptors: (received) => {
          descriptors = received;
        },
      },
    )
    .catch((error) => {
      connection.close();
      throw error;
    });
  let open = true;
  const close = () => {
    connection.close();
    if (open) for (const fd of descriptors) native.closeDescriptor(fd);
    open = false;
  };
  return { connection, welcome, descriptors, close };
}
