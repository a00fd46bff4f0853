/** Types of tautline.js, the browser client of tautline's hub. */

export type Transport = "websocket" | "sse" | "poll";
export type State = "connecting" | "open" | "waiting" | "closed";

export interface Options {
  /** The topics at first; at least one. Default: `["default"]`. */
  topics?: string[];
  /** Where to go on: the `cursor` of an earlier line, or `"0"` for everything retained. Default: from now on. */
  cursor?: string;
  /** Which transports, best first. Default: `["websocket", "sse", "poll"]`; those that the platform lacks are left out. */
  transports?: Transport[];
  /** A bearer token: in `Authorization` for requests, as the first message for a WebSocket. Asked for at each connection and request. */
  token?: string | (() => string | Promise<string>);
  /** Of requests, as for `fetch`. Default: `"same-origin"`. */
  credentials?: RequestCredentials;
  /** How long a connection may take until its first block, in milliseconds. Default: 10,000. */
  probe?: number;
  /** Give up after so many failures in a row, without a connection that lasted 10 s between them. Default: never. */
  attempts?: number;
  /** How many publications may wait for their acknowledgement. Default: 1,000. */
  queue?: number;
  /** How long they may be together, in UTF-16 units. Default: 1,048,576. */
  queueSize?: number;
  onevent?: (event: CustomEvent<Events["event"]>) => void;
  ongap?: (event: CustomEvent<Events["gap"]>) => void;
  onpresence?: (event: CustomEvent<Events["presence"]>) => void;
  onstate?: (event: CustomEvent<Events["state"]>) => void;
  onerror?: (event: CustomEvent<Events["error"]>) => void;
  onsubscribed?: (event: CustomEvent<Events["subscribed"]>) => void;
  onunsubscribed?: (event: CustomEvent<Events["unsubscribed"]>) => void;
  onclosed?: (event: CustomEvent<Events["closed"]>) => void;
}

export interface PublishOptions {
  /** Its type. Default: `message`. */
  event?: string;
  /** Published once for a key within 5 minutes, however often it is sent. 1 to 64 visible ASCII characters. Default: one of the line's own. */
  key?: string;
  /** Not to this line's own session. */
  to?: "others";
  /** Ephemeral: not retained, not acknowledged, not sent again. */
  keep?: "no";
  /** What it replaces in a topic that conflates. Default: its type. */
  slot?: string;
}

/** What the events of a line carry as `detail`. */
export interface Events {
  /** `id` is its cursor, or `""` where it is not retained. */
  event: { id: string; topic: string; event: string; data: string };
  /** In these topics events may be missing. */
  gap: { topics: { topic: string; reason: string }[] };
  /** `here` with the `count` and the first 1,000 `users`; else the one who joined or left. */
  presence: { topic: string; change: "here" | "join" | "leave"; users: string[]; count?: number };
  /** While it waits: for how many milliseconds (from now), which attempt comes then, and why the last connection ended. */
  state: { state: State; transport: Transport; wait?: number; attempt?: number; reason?: string };
  /** The hub refused a command. Of a publication it comes beside the rejection; with 429 and 503 the line tries again by itself. */
  error: { status: number; command: string; key: string; topic?: string; message: string; after?: number };
  /** By WebSocket: the topic was added, and has caught up to the cursor. */
  subscribed: { topic: string; cursor: string };
  /** By WebSocket: the topic was left. */
  unsubscribed: { topic: string; reason: "asked" | "revoked" };
  /** The line has ended for good; `status` or `code` where the server's answer is the reason, else 0. */
  closed: { reason: string; status: number; code: number };
}

/** A line to a hub. */
export class Tautline extends EventTarget {
  /** @param base the URL under which `ws`, `events`, `poll` and `send` stand; relative to the page */
  constructor(base: string | URL, options?: Options);
  /** Everything of the topics up to here was told. Another line goes on from it with the option `cursor`. */
  get cursor(): string;
  /** The transport in use, or whose turn it is. */
  get transport(): Transport;
  get state(): State;
  get topics(): string[];
  /** Adds a topic, from now on or from a cursor (`"0"`: from everything retained on). By event stream and poll this connects anew. */
  subscribe(topic: string, cursor?: string): void;
  /** Leaves a topic, but not the last one. Events of it may still come until the hub has heard of it. */
  unsubscribe(topic: string): void;
  /**
   * Publishes, now or when there is a connection. Resolves to the publication's cursor; with `keep: "no"` to `""` at once.
   * Rejects where it is refused, the queue is full, or the line is closed before.
   */
  publish(topic: string, data: string, options?: PublishOptions): Promise<string>;
  /** Drops the present connection, to see the line come back. Does not count against the transport. */
  cut(): void;
  /** Connects at once where the line waits. */
  retry(): void;
  /** Ends the line for good. Publications without an answer are rejected. */
  close(): void;
  addEventListener<K extends keyof Events>(type: K, listener: (event: CustomEvent<Events[K]>) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** Why a publication was refused or a line ended: what `publish` rejects with. */
export class Fault extends Error {
  constructor(reason: string, more?: { status?: number; code?: number; after?: number; window?: number });
  /** HTTP's status or the WebSocket's close code, else 0. */
  status: number;
  code: number;
  /** The wait or the window that the server asked for, in milliseconds. */
  after: number | undefined;
  window: number | undefined;
  /** The server says no to this client, by whatever transport. */
  final: boolean;
  /** The request is wrong here; by another transport it need not be. */
  unfit: boolean;
  /** The server itself answered. */
  answered: boolean;
}

/** A block as it is read. `data` is undefined where nothing is to be dispatched, `id` where the block names none. */
export interface Block {
  id?: string;
  topic?: string;
  event?: string;
  data?: string;
}

/** The event-stream parser of the WHATWG standard, with the field `topic`. */
export class BlockParser {
  constructor(onblock: (block: Block) => void, limit?: number);
  onblock: (block: Block) => void;
  limit: number;
  /** The last id, as the standard keeps it. */
  lastId: string;
  /** The last valid `retry:`, in milliseconds. */
  retry: number | undefined;
  /** Takes text, or the bytes of a stream, in whatever pieces. Throws where a block is longer than the limit. */
  push(piece: Uint8Array | string): void;
}

/** Whether cursor `a` is beyond `b`, or of another log, which replaces `b`'s. */
export function above(a: string, b: string): boolean;
