/** What nodes of the simulation say over the links between them: one knows the other as a server. */
import type { FsError } from '@cluster-fs/transport';
import type {
  HandedOver,
  HolderFrame,
  HomeFrame,
  MovedFile,
  Position,
  Progress,
  TagMode,
  TagReply,
} from 'cluster-fs/coherence';
import type { Layout } from './layouts.ts';

export interface Requests {
  readonly open: { fields: { file: number; mode: TagMode; asked: number }; reply: TagReply<number> };
  readonly take: { fields: MovedFile & { from: number }; reply: Progress };
  readonly give: { fields: MovedFile & { to: number }; reply: undefined };
  readonly handOver: { fields: HandedOver & { asked: number }; reply: number };
  readonly describe: { fields: Record<string, never>; reply: undefined };
  readonly content: { fields: { file: number; layout: Layout }; reply: undefined };
  readonly empty: { fields: Record<string, never>; reply: undefined };
  readonly moves: { fields: { ino: number; move: number }; reply: boolean };
  readonly follow: { fields: { feed: number; sequence: number }; reply: Changes };
}

export interface Change {
  readonly sequence: number;
  readonly file: number;
  readonly to: number;
  readonly layout: Layout;
}

/** Of the homes of files. `isWhole`: they are as they are, however that came. */
export interface Changes {
  readonly feed: number;
  readonly isWhole: boolean;
  readonly changes: readonly Change[];
}

export type AnyRequest = {
  [N in keyof Requests]: { readonly kind: 'request'; id: number; name: N; fields: Requests[N]['fields'] };
}[keyof Requests];

export type Answer = { readonly reply: unknown } | { readonly error: FsError };

export type ToServer =
  | { readonly kind: 'home'; readonly frame: HolderFrame<number>; readonly tag: number | undefined }
  | { readonly kind: 'tagClose' | 'tagGone'; readonly tag: number }
  | { readonly kind: 'leaving' }
  | { readonly kind: 'position'; readonly position: Position }
  | { readonly kind: 'gave'; readonly ino: number; readonly move: number }
  | { readonly kind: 'applied'; readonly sequence: number }
  | AnyRequest;

export type FromServer =
  | { readonly kind: 'holder'; readonly frame: HomeFrame<number>; readonly tag: number | undefined }
  | { readonly kind: 'tagClosed'; readonly tag: number }
  | { readonly kind: 'reply'; readonly id: number; readonly answer: Answer }
  | { readonly kind: 'changes'; readonly changes: Changes };
