// @ts-check
/**
 * A client of tautline's hub for browsers (and node): topics by WebSocket, else by an event stream, else by long polling, without
 * losing its place. One module, no dependency, no build; docs/PROTOCOL.md is what it speaks, tautline.d.ts its types.
 *
 *     const line = new Tautline("/base/", { topics: ["prices"] });
 *     line.addEventListener("event", ({ detail }) => console.log(detail.topic, detail.data));
 *     await line.publish("prices", "42");
 *
 * - A transport is judged by its use: a connection that ends before it brought an event or lasted 10 s counts against it, also where
 *   its handshake passed. After three of these in a row comes the next transport, and behind the last the first again.
 * - While a lower transport serves, the better ones are tried beside it after a cool-down; it is let go when one of them is live.
 * - Every connection goes on from `cursor`, and what is not above it is dropped: an event is told once, or a `gap` says that it may be
 *   missing. What the hub does not retain (presence, `keep: "no"`) is told as it comes.
 * - A publication is kept until it is acknowledged, and sent again with the same key on the next connection.
 */
/** @import { Block, Events, Options, PublishOptions, State, Transport } from "./tautline.d.ts" */
/** @typedef {{ text: string, line?: Line, resolve: (cursor: string) => void, reject: (cause: Error) => void }} Publication */

// All times in milliseconds. The range of the first wait, doubled by each failure in a row up to a cap; a wait is drawn evenly from it.
const [BASE, CAP] = [1_000, 30_000];
// No wait is shorter, and none that a server asks for is longer.
const [FLOOR, CEILING] = [100, 3_600_000];
// A connection that is up this long counts as a success; so many in a row that were of no use, and the next transport has its turn.
const [STABLE, TRIES] = [10_000, 3];
// How long a lower transport serves before the better ones are tried; doubled by each trial up to the second.
const [COOL, COOLEST] = [60_000, 600_000];
// How long a poll is held, by how much its answer may be late, and how long a POST may take.
const [HOLD, LATE, POST] = [25_000, 10_000, 30_000];
// What goes into one POST at most, or lies unsent in a socket before the ephemeral is let go, in UTF-16 units.
const BATCH = 65_536;

const sleep = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));
const clamp = (/** @type {number} */ advice) => Math.min(CEILING, Math.max(FLOOR, advice));

/** Why a connection, a request or a publication failed, and what that asks of the client. */
export class Fault extends Error {
  /** @param {string} reason @param {{ status?: number, code?: number, after?: number, window?: number }} [more] */
  constructor(reason, { status = 0, code = 0, after, window } = {}) {
    super(reason);
    this.status = status;
    this.code = code;
    /** The server asks to wait so long at least, or to come back at some time within the window. */
    this.after = after;
    this.window = window;
    /** The server says no to this client, by whatever transport. */
    this.final = [204, 401, 403].includes(status) || [1002, 1003, 1007, 1008, 1009].includes(code) || (code >= 4000 && code <= 4499);
    /** The request is wrong here; by another transport it need not be. */
    this.unfit = [400, 404, 405, 406, 411, 413, 415, 421].includes(status);
    /** The server itself answered: the transport works. */
    this.answered = [429, 503].includes(status) || [1001, 1012, 1013].includes(code);
  }
}
const faultOf = (/** @type {any} */ cause) => (cause instanceof Fault ? cause : new Fault(String(cause?.message ?? cause)));

/** A connection: blocks come in until it is `over`; `live` from `since` on, when its attach is complete. `topics`: what the hub was told. */
const connection = (/** @type {number} */ rung, /** @type {Transport} */ transport) => ({
  rung, transport, over: false, live: false, since: 0, events: 0, more: false, heartbeat: 25_000, timer: 0,
  topics: new Set([""]), abort: new AbortController(), socket: /** @type {WebSocket | undefined} */ (undefined),
});
/** @typedef {ReturnType<typeof connection>} Line */

/**
 * The event-stream parser of the WHATWG standard, with the field `topic`. Calls `onblock` at the end of each block that has an id or data:
 * `data` is undefined where the standard dispatches nothing, `id` where the block names none itself.
 */
export class BlockParser {
  /** The last id, as the standard keeps it. */
  lastId = "";
  /** The last valid `retry:`. @type {number | undefined} */
  retry;
  #partial = ""; #cr = false; #utf8 = new TextDecoder(); #size = 0;
  /** @type {Block} */ #block = {};
  /** @type {string[]} */ #data = [];

  /** @param {(block: Block) => void} onblock @param {number} [limit] of a block in UTF-16 units; what is skipped does not count */
  constructor(onblock, limit = 4_194_304) {
    this.onblock = onblock;
    this.limit = limit;
  }
  /** Takes text, or the bytes of a stream (a BOM at its start goes), in whatever pieces. @param {Uint8Array | string} piece */
  push(piece) {
    const text = typeof piece === "string" ? piece : this.#utf8.decode(piece, { stream: true });
    if (!text) return;
    const ends = /\r\n?|\n/g;
    let from = (ends.lastIndex = this.#cr && text[0] === "\n" ? 1 : 0);
    for (let end = ends.exec(text); end; end = ends.exec(text)) {
      this.#line(this.#partial + text.slice(from, end.index));
      this.#partial = "";
      from = ends.lastIndex;
    }
    this.#cr = text.endsWith("\r");
    this.#partial += text.slice(from);
    // A comment or an unknown field may be of any length.
    if (this.#partial.length > 6 && !/^(?:id|topic|event|data|retry):/.test(this.#partial)) this.#partial = ":";
    if (this.#size + this.#partial.length > this.limit) throw new Fault(`a block is longer than ${this.limit}`);
  }
  /** @param {string} line */ #line(line) {
    if (!line) return this.#end();
    const [, name, value = ""] = /^([^:]*)(?:: ?([^]*))?$/.exec(line) ?? [];
    if (name === "data") this.#data.push(value);
    else if (name === "event" || name === "topic") this.#block[name] = value;
    else if (name === "id" && !value.includes("\0")) this.#block.id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value) && Number.isSafeInteger(Number(value))) this.retry = Number(value);
    if (name === "data") this.#size += value.length + 1;
    if (this.#size > this.limit) throw new Fault(`a block is longer than ${this.limit}`);
  }
  #end() {
    const block = this.#block;
    if (this.#data.length) block.data = this.#data.join("\n");
    [this.lastId, this.#block, this.#data, this.#size] = [block.id ?? this.lastId, {}, [], 0];
    if (block.id !== undefined || block.data !== undefined) this.onblock(block);
  }
}

/** The text of a block. @param {Record<string, string | undefined>} fields */
function encode({ data, ...fields }) {
  const lines = Object.entries(fields).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${value}`);
  if (/[\r\n\0]/.test(lines.join(""))) throw new TypeError("a field other than data holds a line end or NUL");
  if (data !== undefined) lines.push(...data.split(/\r\n?|\n/).map((line) => `data: ${line}`));
  return `${lines.join("\n")}\n\n`;
}

/** Whether cursor `a` is beyond `b`, or of another log, which replaces `b`'s. @param {string} a @param {string} b */
export function above(a, b) {
  const [one, other] = [a, b].map((cursor) => /^(\d+)-(\d+)(?:-([0-9a-f]+))?$/.exec(cursor));
  if (!one || !other || one[3] !== other[3]) return a !== b && a !== "" && a !== "0";
  const [ms, seq] = [1, 2].map((part) => BigInt(one[part]) - BigInt(other[part]));
  return ms > 0n || (ms === 0n && seq > 0n);
}

/** @param {string} topic */ function checked(topic) {
  if (!/^[A-Za-z0-9_.:/-]{1,128}$/.test(topic)) throw new TypeError("a topic is 1 to 128 characters of A-Z a-z 0-9 _ . : / -");
  return topic;
}

/** A line to a hub. Its events are `Events` of tautline.d.ts, each with its `detail`. */
export class Tautline extends EventTarget {
  #base; #options; #rungs; #topics; #cursor; #session = ""; #timer = 0; #climb = 0; #cool = COOL;
  #rung = 0; #misses = 0; #failures = 0; #advised = false; #queued = 0; #keys = 0; #posting = false;
  #prefix = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  /** @type {State} */ #state = "connecting";
  /** The connection in use. @type {Line | undefined} */ #line;
  /** One by a better transport, on trial beside it. @type {Line | undefined} */ #trial;
  /** Topics with a cursor of their own; `caught` when they have caught up. @type {Map<string, { at: string, caught: boolean }>} */ #own = new Map();
  /** What is not acknowledged, by key. @type {Map<string, Publication>} */ #queue = new Map();

  /** @param {string | URL} base under which `ws`, `events`, `poll` and `send` stand @param {Options} [options] */
  constructor(base, options = {}) {
    super();
    this.#base = new URL(base, globalThis.document?.baseURI);
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.#options = { probe: 10_000, attempts: Infinity, queue: 1_000, queueSize: 1_048_576, ...options };
    const able = { websocket: "WebSocket" in globalThis, sse: "fetch" in globalThis, poll: "fetch" in globalThis };
    this.#rungs = (options.transports ?? /** @type {Transport[]} */ (["websocket", "sse", "poll"])).filter((transport) => able[transport]);
    this.#topics = new Set((options.topics ?? ["default"]).map(checked));
    if (!this.#rungs.length || !this.#topics.size) throw new TypeError("no transport or no topic is left");
    this.#cursor = options.cursor ?? "";
    for (const name of /** @type {const} */ (["event", "gap", "presence", "state", "error", "subscribed", "unsubscribed", "closed"])) {
      const listener = /** @type {EventListener | undefined} */ (options[`on${name}`]);
      if (listener) this.addEventListener(name, listener);
    }
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.document?.addEventListener("visibilitychange", this.#wake);
    this.#connect();
  }

  /** Everything of the topics up to here was told. Another line goes on from it with the option `cursor`. */
  get cursor() { return this.#cursor; }
  /** The transport in use, or whose turn it is. */
  get transport() { return this.#rungs[this.#rung]; }
  get state() { return this.#state; }
  get topics() { return [...this.#topics]; }

  /** Adds a topic, from now on or from a cursor (`0`: from everything retained on). @param {string} topic @param {string} [cursor] */
  subscribe(topic, cursor) {
    if (this.#topics.has(checked(topic))) return;
    this.#topics.add(topic);
    if (cursor) this.#own.set(topic, { at: cursor, caught: false });
    queueMicrotask(() => this.#sync());
  }
  /** Leaves a topic, but not the last one: a connection without topics would be on `default`. @param {string} topic */
  unsubscribe(topic) {
    if (this.#topics.has(topic) && this.#topics.size === 1) throw new TypeError("the last topic cannot be left; close the line");
    this.#forget(topic);
    queueMicrotask(() => this.#sync());
  }
  /**
   * Publishes, now or when there is a connection. Resolves to the publication's cursor; what is not kept (`keep: "no"`) resolves to "" at
   * once, and is let go where there is no connection. Rejects where it is refused, the queue is full or the line is closed before.
   * @param {string} topic @param {string} data @param {PublishOptions} [options] @returns {Promise<string>}
   */
  async publish(topic, data, { event, key = `${this.#prefix}.${(this.#keys += 1)}`, to, keep, slot } = {}) {
    const { queue, queueSize } = this.#options;
    if (this.#state === "closed") throw new Fault("the line is closed");
    if (event?.startsWith("tautline.")) throw new TypeError("an event type that begins with tautline. is the protocol's own");
    if (!/^[!-~]{1,64}$/.test(key) || this.#queue.has(key)) throw new TypeError("a key is 1 to 64 visible ASCII characters, and not under way");
    const text = encode({ id: keep ? undefined : key, topic: checked(topic), event, to, keep, slot, data });
    if (keep) {
      const socket = this.#line?.socket;
      if (this.#line?.live && !socket) this.#post(text).catch(() => {});
      else if (this.#line?.live && socket && socket.bufferedAmount < BATCH) socket.send(text);
      return "";
    }
    if (this.#queue.size >= queue || this.#queued + text.length > queueSize) throw new Fault(`more than ${queue}, or ${queueSize} in size, wait`);
    this.#queued += text.length;
    const answer = new Promise((resolve, reject) => this.#queue.set(key, { text, resolve, reject }));
    this.#flush();
    return answer;
  }
  /** Drops the present connection, to see the line come back. Does not count against the transport. */
  cut() { if (this.#line) this.#ended(this.#line, new Fault("cut", { code: 1001 })); }
  /** Connects at once where the line waits. */
  retry() { if (this.#state === "waiting") this.#connect(); }
  /** Ends the line for good. Publications without an answer are rejected. */
  close() { this.#finish(new Fault("closed by the application")); }

  // Connecting, falling and climbing.

  // The browser's hint cuts a wait short, but not one that the server asked for.
  #wake = () => globalThis.document?.visibilityState === "hidden" || this.#advised || this.retry();
  #connect() {
    clearTimeout(this.#timer);
    this.#line = this.#start(this.#rung);
    this.#become("connecting");
  }
  /** @param {number} rung */ #start(rung) {
    const line = connection(rung, this.#rungs[rung]);
    this.#watch(line, this.#options.probe);
    (line.transport === "websocket" ? this.#socket(line) : this.#requests(line)).catch((cause) => this.#ended(line, faultOf(cause)));
    return line;
  }
  /** Ends a line unless this is called again within `ms`. @param {Line} line @param {number} ms */
  #watch(line, ms) {
    clearTimeout(line.timer);
    if (!line.over) line.timer = setTimeout(() => this.#ended(line, new Fault(`nothing was heard for ${ms} ms`)), ms);
  }
  /** @param {Line} [line] */ #drop(line) {
    if (line) line.over = true;
    clearTimeout(line?.timer);
    line?.abort.abort();
  }
  /** @param {Line} line @param {Fault} fault */ #ended(line, fault) {
    if (line.over) return;
    this.#drop(line);
    if (line === this.#trial) {
      this.#trial = line.rung + 1 < this.#rung ? this.#start(line.rung + 1) : undefined;
      return this.#coolDown();
    }
    this.#line = undefined;
    // It may be the session that is refused: once more without it.
    const renewed = (fault.status === 403 || fault.code === 4003) && this.#session !== "";
    const steady = line.live && Date.now() - line.since >= STABLE;
    if (steady && line.rung === 0) this.#cool = COOL;
    if (steady) this.#failures = 0;
    if (steady || line.events) this.#misses = 0;
    else if (!fault.answered && !renewed && globalThis.navigator?.onLine !== false) this.#misses += 1;
    const last = this.#rung === this.#rungs.length - 1;
    if ((fault.final && !renewed) || (fault.unfit && last) || this.#failures >= this.#options.attempts) return this.#finish(fault);
    if (renewed) this.#session = "";
    const falls = fault.unfit || this.#misses >= TRIES;
    // The next transport is no worse for the failures of this one; behind the last, all have failed.
    let wait = Math.random() * (falls && !last ? BASE : Math.min(CAP, BASE * 2 ** this.#failures));
    if (falls) [this.#rung, this.#misses] = [last ? 0 : this.#rung + 1, 0];
    this.#failures += 1;
    this.#advised = (fault.window ?? fault.after) !== undefined;
    if (fault.window !== undefined) wait = Math.random() * clamp(fault.window);
    else if (fault.after !== undefined) wait += clamp(fault.after);
    wait = Math.max(FLOOR, wait);
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#become("waiting", { wait, attempt: this.#failures, reason: fault.message });
  }
  /** Sets the next trial of what is better than the present transport, where none is set or under way. */
  #coolDown() {
    if (this.#rung === 0 || this.#climb || this.#trial) return;
    this.#climb = setTimeout(() => {
      [this.#climb, this.#cool] = [0, Math.min(COOLEST, this.#cool * 2)];
      if (this.#line) this.#trial = this.#start(0);
      // While it waits there is nothing to lose: one try in place of the next.
      else [this.#rung, this.#misses] = [0, TRIES - 1];
    }, this.#cool * (0.75 + Math.random() / 2));
  }
  /** The attach is complete. @param {Line} line */
  #lives(line) {
    [line.live, line.since] = [true, Date.now()];
    if (line === this.#trial) {
      this.#drop(this.#line);
      clearTimeout(this.#timer);
      [this.#line, this.#trial, this.#rung, this.#misses] = [line, undefined, line.rung, 0];
    }
    this.#coolDown();
    this.#become("open");
    this.#sync();
    this.#flush();
  }
  /** @param {State} state @param {{ wait?: number, attempt?: number, reason?: string }} [more] */ #become(state, more) {
    this.#state = state;
    this.#tell("state", { state, transport: this.transport, ...more });
  }
  /** @param {Fault} fault */ #finish(fault) {
    if (this.#state === "closed") return;
    [this.#timer, this.#climb].forEach((timer) => clearTimeout(timer));
    [this.#line, this.#trial].forEach((line) => this.#drop(line));
    this.#line = this.#trial = undefined;
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.document?.removeEventListener("visibilitychange", this.#wake);
    this.#become("closed", { reason: fault.message });
    for (const key of [...this.#queue.keys()]) this.#settle(key, fault);
    this.#tell("closed", { reason: fault.message, status: fault.status, code: fault.code });
  }
  /** @template {keyof Events} Name @param {Name} name @param {Events[Name]} detail */
  #tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  // The transports: each runs until its connection has ended, and throws why.

  /** @param {Line} line @param {string} path @param {Record<string, string>} more */ #attach(line, path, more) {
    const topics = [...this.#topics].map((topic) => ["topic", this.#owns(topic) ? `${topic}@${this.#owns(topic)?.at}` : topic]);
    const rest = Object.entries({ lastId: this.#cursor, ...more }).filter(([, value]) => value);
    line.topics = new Set(this.#topics);
    return new URL(`${path}?${new URLSearchParams([...topics, ...rest])}`, this.#base);
  }
  async #token() { return typeof this.#options.token === "function" ? this.#options.token() : this.#options.token; }
  /** @param {Line} line */ async #socket(line) {
    const token = await this.#token();
    const url = this.#attach(line, "ws", { session: this.#session });
    url.protocol = url.protocol.replace("http", "ws");
    await new Promise((_, reject) => {
      if (line.over) return;
      const socket = (line.socket = new WebSocket(url, "tautline"));
      line.abort.signal.addEventListener("abort", () => socket.close());
      socket.onopen = () => token && socket.send(encode({ event: "tautline.token", data: token }));
      socket.onmessage = ({ data }) => typeof data === "string" && this.#parser(line).push(`${data}\n\n`);
      socket.onclose = ({ code, reason }) => {
        const window = code === 1012 || code === 1013 ? /(?:^|\s)retry=(\d{1,15})$/.exec(reason)?.[1] : undefined;
        reject(new Fault(`closed with ${code}${reason && `: ${reason}`}`, { code, window: window ? Number(window) : undefined }));
      };
    });
  }
  /** An event stream, or polls; the first of these is answered at once, which shows that they work. @param {Line} line */
  async #requests(line) {
    const [polls, signal] = [line.transport === "poll", line.abort.signal];
    for (let hold = 0; !line.over; hold = HOLD) {
      const [parser, began, before] = [this.#parser(line), Date.now(), line.events];
      if (hold) this.#watch(line, hold + LATE);
      try {
        const url = () => (polls ? this.#attach(line, "poll", { timeout: String(hold / 1_000) }) : this.#attach(line, "events", {}));
        const answer = await this.#fetch(url, { headers: { Accept: "text/event-stream" }, cache: "no-store", signal });
        if (!/^\s*text\/event-stream\s*(?:;|$)/i.test(answer.headers.get("Content-Type") ?? "")) throw new Fault("this is no event stream");
        line.more = answer.headers.get("Tautline-More") === "1";
        const reader = answer.body?.getReader();
        for (let read = await reader?.read(); read && !read.done && !line.over; read = await reader?.read()) parser.push(read.value);
        if (!polls) throw new Fault("the stream ended");
      } catch (cause) {
        const { message, status, after = parser.retry } = faultOf(cause);
        throw new Fault(message, { status, after });
      }
      // Whoever answers at once and with nothing is not asked again at once.
      if (hold && line.events === before && Date.now() - began < BASE) await sleep(FLOOR + Math.random() * BASE);
    }
  }
  /** @param {Line} line */ #parser(line) {
    return new BlockParser((block) => {
      this.#heard(line, block);
      if (line.transport !== "poll") this.#watch(line, 2.5 * line.heartbeat);
    });
  }
  /** @param {() => URL} url @param {RequestInit & { headers?: Record<string, string> }} options */
  async #fetch(url, { headers = {}, ...options }) {
    const token = await this.#token();
    if (token) headers.Authorization = `Bearer ${token}`;
    if (this.#session) headers["Tautline-Session"] = this.#session;
    const answer = await fetch(url(), { ...options, headers, credentials: this.#options.credentials ?? "same-origin" });
    this.#session = answer.headers.get("Tautline-Session") ?? this.#session;
    if (answer.status === 200) return answer;
    answer.body?.cancel().catch(() => {});
    const advice = answer.headers.get("Retry-After") ?? "";
    const after = /^\d+$/.test(advice) ? Number(advice) * 1_000 : Date.parse(advice) - Date.now();
    throw new Fault(`answered with ${answer.status}`, { status: answer.status, after: Number.isNaN(after) ? undefined : after });
  }

  // The way up.

  /** Sends what is not under way by the present connection, in order. */
  #flush() {
    const line = this.#line;
    if (!line?.live) return;
    if (!line.socket) return void this.#posts();
    for (const item of this.#queue.values()) {
      if (item.line !== line) line.socket.send(item.text);
      item.line = line;
    }
  }
  async #posts() {
    if (this.#posting) return;
    this.#posting = true;
    for (let line = this.#line, tries = 0; line?.live && !line.socket; line = this.#line) {
      let body = "";
      const keys = [];
      for (const [key, item] of this.#queue) {
        if (item.line === line) continue;
        if (body && body.length + item.text.length > BATCH) break;
        [body, item.line] = [body + item.text, line];
        keys.push(key);
      }
      if (!body) break;
      try {
        await this.#post(body);
        tries = 0;
      } catch (cause) {
        const fault = faultOf(cause);
        if (fault.unfit) keys.forEach((key) => this.#settle(key, fault));
        else if (fault.final) this.#ended(line, fault);
        else {
          for (const key of keys) Object.assign(this.#queue.get(key) ?? {}, { line: undefined });
          await sleep(FLOOR + Math.random() * Math.min(CAP, BASE * 2 ** tries++) + (fault.after === undefined ? 0 : clamp(fault.after)));
        }
      }
    }
    this.#posting = false;
  }
  /** @param {string} body */ async #post(body) {
    const answer = await this.#fetch(() => new URL("send", this.#base), { method: "POST", body, signal: AbortSignal.timeout(POST) });
    const parser = new BlockParser(({ event = "", topic, data = "" }) => this.#told(undefined, event, topic, data));
    parser.push(`${await answer.text()}\n\n`);
  }

  // What comes.

  /** @param {Line} line @param {Block} block */ #heard(line, { id = "", topic = "default", event = "message", data }) {
    if (line.over) return;
    if (data === undefined) {
      if (above(id, this.#cursor)) this.#cursor = id;
      // The first position block ends an attach. By polls each is an attach, and the last part has its end.
      const attached = !line.live || line.transport === "poll";
      if (attached && !line.more) line.topics.forEach((name) => Object.assign(this.#own.get(name) ?? {}, { caught: true }));
      if (!line.live) this.#lives(line);
    } else if (event.startsWith("tautline.")) this.#told(line, event, topic, data);
    else if (id ? this.#moves(topic, id) : line !== this.#trial) {
      line.events += 1;
      this.#tell("event", { id, topic, event: event || "message", data });
    }
  }
  /** An event of the protocol's own. @param {Line | undefined} line @param {string} event @param {string} topic @param {string} data */
  #told(line, event, topic = "", data) {
    const lines = data.split("\n").map((line) => line.split(" "));
    const [[first, second]] = lines;
    if (event === "tautline.session" && line) {
      const { session = this.#session, heartbeat } = Object.fromEntries(lines);
      this.#session = session;
      line.heartbeat = Number(heartbeat) || line.heartbeat;
    } else if (event === "tautline.gap") {
      for (const [name, reason] of lines) {
        // Otherwise the cursor is none of this log: what comes may be below it.
        if (reason === "expired") continue;
        if (this.#owns(name)) this.#own.set(name, { at: "0", caught: false });
        else this.#cursor = "0";
      }
      this.#tell("gap", { topics: lines.map(([topic, reason]) => ({ topic, reason })) });
    } else if (event === "tautline.subscribed") {
      const at = this.#owns(topic)?.at ?? "";
      this.#own.set(topic, { at: above(at, data) ? at : data, caught: true });
      this.#tell("subscribed", { topic, cursor: data });
    } else if (event === "tautline.unsubscribed") {
      if (data === "revoked") this.#forget(topic);
      this.#tell("unsubscribed", { topic, reason: /** @type {any} */ (data) });
    } else if (event === "tautline.ack") this.#settle(first, second);
    else if (event === "tautline.presence" && (!line || line !== this.#trial)) {
      const [count, users] = first === "here" ? [Number(second), data.split("\n").slice(1)] : [undefined, [data.slice(first.length + 1)]];
      this.#tell("presence", { topic, change: /** @type {any} */ (first), users, count });
    } else if (event === "tautline.error") this.#refused(line, topic, data);
  }
  /** @param {Line | undefined} line @param {string} topic @param {string} data */ #refused(line, topic, data) {
    const [, digits = "0", command = "", key = "", message = "", wait] = /^(\d+) (\S+) ?(.*)\n?(.*)(?:\nafter (\d+))?/.exec(data) ?? [];
    const [status, after] = [Number(digits), wait === undefined ? undefined : Number(wait)];
    const again = (/** @type {() => void} */ action) => setTimeout(action, clamp(after ?? BASE) + Math.random() * BASE);
    const later = status === 429 || status === 503;
    const item = command === "publish" ? this.#queue.get(key) : undefined;
    if (item && later) again(() => ((item.line = undefined), this.#flush()));
    else if (item) this.#settle(key, new Fault(message, { status, after }));
    if (command === "subscribe" && later) again(() => line?.topics.delete(topic) && this.#sync());
    else if (command === "subscribe") this.#forget(topic);
    this.#tell("error", { status, command, key, topic, message, after });
  }
  /** @param {string} key @param {string | Error} outcome */ #settle(key, outcome) {
    const item = this.#queue.get(key);
    this.#queue.delete(key);
    this.#queued -= item?.text.length ?? 0;
    if (typeof outcome === "string") item?.resolve(outcome);
    else item?.reject(outcome);
  }

  // Topics and where they are.

  /** @param {string} topic */ #forget(topic) {
    this.#own.delete(topic);
    if (this.#topics.delete(topic) && !this.#topics.size) this.#finish(new Fault("no topic is left", { status: 403 }));
  }
  /** The cursor that a topic has of its own, until it has caught up and the line's has passed it. @param {string} topic */
  #owns(topic) {
    const own = this.#own.get(topic);
    if (own?.caught && !above(own.at, this.#cursor)) this.#own.delete(topic);
    return this.#own.get(topic);
  }
  /** Whether an event is new; then its cursor is where we are. @param {string} topic @param {string} id */
  #moves(topic, id) {
    const own = this.#owns(topic);
    if (!above(id, own?.at ?? this.#cursor)) return false;
    if (own) own.at = id;
    if ((!own || own.caught) && above(id, this.#cursor)) this.#cursor = id;
    return true;
  }
  /** Tells the hub of changed topics: by a command, or by a new connection. */
  #sync() {
    const line = this.#line;
    if (!line?.live) return;
    const added = [...this.#topics].filter((topic) => !line.topics.has(topic));
    const left = [...line.topics].filter((topic) => !this.#topics.has(topic));
    if (!line.socket && added.length + left.length) {
      this.#drop(line);
      return this.#connect();
    }
    for (const topic of left) line.socket?.send(encode({ event: "tautline.unsubscribe", topic, data: "" }));
    for (const topic of added) line.socket?.send(encode({ event: "tautline.subscribe", topic, data: this.#owns(topic)?.at }));
    line.topics = new Set(this.#topics);
  }
}
