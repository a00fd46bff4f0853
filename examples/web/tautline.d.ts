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
  /**
   * A bearer token: in `Authorization` for requests, as the first message for a WebSocket (whose URL has `auth=message` then). Asked for
   * at each connection and request; where it becomes another user's the line goes on in another session.
   */
  token?: string | (() => string | Promise<string>);
  /** Of requests, as for `fetch`. Default: `"same-origin"`. */
  credentials?: RequestCredentials;
  /** How long a connection may take until its first block, in milliseconds. Default: 10,000. */
  probe?: number;
  /** Give up after so many failures in a row, without a connection that lasted 10 s between them. Default: never. */
  attempts?: number;
  /** How much the publications that wait for their acknowledgement may be together, in UTF-16 units. Default: 1,048,576. */
  queue?: number;
  /** Acknowledged delivery: the hub sends again what it did not hear to have come. By polls the next poll says it. Default: false. */
  ack?: boolean;
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
  /**
   * While it waits: for how many milliseconds (from now), which attempt comes then, and why the last connection ended.
   * When it is closed, which is for good: why, and HTTP's status or the WebSocket's close code where that is the reason, else 0.
   */
  state: { state: State; transport: Transport; wait?: number; attempt?: number; reason?: string; status?: number };
  /**
   * The hub refused a command; `after` milliseconds it may pay to come back, if that is not 0. Of a publication it comes beside
   * the rejection. What is too much just now (429, 503) is sent again: a publication, with those behind it, and a subscription. A topic
   * that is refused otherwise is left.
   */
  error: { status: number; command: string; key: string; topic?: string; message: string; after: number };
  /** The topic was added, and has caught up to the cursor. By event stream and poll only of topics with a cursor of their own. */
  subscribed: { topic: string; cursor: string };
  /** The topic was left (by WebSocket), or taken from this line (by WebSocket and event stream). */
  unsubscribed: { topic: string; reason: "asked" | "revoked" };
}

/** A line to a hub. */
export class Tautline extends EventTarget {
  /** @param base the URL under which `ws`, `events`, `poll`, `send` and `ack` stand; relative to the page */
  constructor(base: string | URL, options?: Options);
  /** Everything of the topics up to here was told. Another line goes on from it with the option `cursor`. */
  get cursor(): string;
  /** The transport in use, or whose turn it is. */
  get transport(): Transport;
  get state(): State;
  get topics(): string[];
  /** Adds a topic, from now on or from a cursor (`"0"`: from everything retained on). By event stream and poll this connects anew. */
  subscribe(topic: string, cursor?: string): void;
  /** Leaves a topic, but not the last one. No event of it is told any more. */
  unsubscribe(topic: string): void;
  /**
   * Publishes, now or when there is a connection. Resolves to the publication's cursor; with `keep: "no"` to `""` at once.
   * Rejects where it is refused, the queue is full, or the line is closed before.
   */
  publish(topic: string, data: string, options?: PublishOptions): Promise<string>;
  /** Asks who is on a topic; a `presence` event with `here` tells it. Nothing comes without a connection. */
  presence(topic: string): void;
  /** Drops the present connection, to see the line come back. Does not count against the transport. */
  cut(): void;
  /** Connects at once where the line waits: for the browser's `online` event, or a button. */
  retry(): void;
  /** Ends the line for good. Publications without an answer are rejected. */
  close(): void;
  addEventListener<K extends keyof Events>(type: K, listener: (event: CustomEvent<Events[K]>) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** What `publish` rejects with, unless its arguments were wrong. */
export interface Fault extends Error {
  /** HTTP's status or the WebSocket's close code, else 0. */
  status: number;
}

/** A block as it is read. `data` is undefined where nothing is to be dispatched, `id` where the block names none. `retry` comes alone. */
export interface Block {
  id?: string;
  topic?: string;
  event?: string;
  data?: string;
  retry?: number;
}

/**
 * The event-stream parser of the WHATWG standard, with the field `topic`. What it gives takes text, or the bytes of a stream
 * (a BOM at its start goes), in whatever pieces, and throws where more than `limit` of a block had to be kept.
 */
export function blockParser(onblock: (block: Block) => void, limit?: number): (piece: Uint8Array | string) => void;

/** Whether cursor `a` is beyond `b`, or of another log, which replaces `b`'s. */
export function above(a: string, b: string): boolean;
