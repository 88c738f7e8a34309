/** The ends of a link between two nodes of the simulation: of the one that uses the other, and of that. */
import type { FromServer, ToServer } from './frames.ts';
import type { Lending } from './lending.ts';
import type { MovingNode } from './moving-node.ts';
import { coordinator } from './simulation.ts';

export function serverEnd(
  node: MovingNode,
  peer: number,
  send: (frame: FromServer) => void,
  cut: () => void,
) {
  const { life } = node;
  const peerLife = node.sim.node(peer).life;
  let admitted: ReturnType<Lending['admit']> | undefined;
  const whileAlive = (run: () => void): void => {
    node.whileAlive(life, run);
  };
  whileAlive(() => {
    admitted = node.lending.admit(peer, peerLife, send, cut);
  });
  return {
    receive: (frame: unknown) =>
      whileAlive(() => {
        node.sim.messages++;
        node.sim.trace(peer, node.id, frame);
        if (admitted?.link?.send === send) node.lending.receive(admitted, frame as ToServer);
      }),
    down: () =>
      whileAlive(() => {
        if (admitted !== undefined) node.lending.linkDown(admitted, send);
      }),
  };
}

export function clientEnd(node: MovingNode, peer: number) {
  const { life } = node;
  let isUp = true;
  const whileAlive = (run: () => void): void => {
    node.whileAlive(life, run);
  };
  return {
    up: (send: (frame: ToServer) => void) =>
      whileAlive(() => {
        if (!isUp) return;
        node.neighbour(peer).linkUp(send);
        if (peer === coordinator) node.follow();
      }),
    receive: (frame: unknown) =>
      whileAlive(() => {
        node.sim.messages++;
        node.sim.trace(peer, node.id, frame);
        node.neighbour(peer).receive(frame as FromServer);
      }),
    down: () => {
      isUp = false;
      whileAlive(() => {
        if (peer === coordinator) node.isCurrent = false;
        node.neighbour(peer).linkDown();
      });
    },
  };
}
