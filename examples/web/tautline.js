/**
 * A client of tautline's hub for browsers (and node): topics by WebSocket, else by an event stream, else by long polls,
 * without losing its place. docs/PROTOCOL.md is what it speaks, tautline.d.ts its types.
 *
 *     const line = new Tautline("/base/", { topics: ["prices"] });
 *     line.addEventListener("event", ({ detail }) => console.log(detail.topic, detail.data));
 *     await line.publish("prices", "42");
 *
 * A transport is judged by its use: three connections in a row that end before they brought an event or lasted 10 s
 * lead to the next. After a cool-down the better ones are tried again; one failure there leads back to what worked.
 * Every connection goes on from `cursor` and drops what is not above it: an event is told once, or a `gap` says that it
 * may be missing. A publication is kept until it is acknowledged, and sent again with the same key.
 */
/** @import { Block, Options, PublishOptions, State, Transport } from "./tautline.d.ts" */
const [BASE, CAP] = [1_000, 30_000]; // Milliseconds. A wait's range at first and at most: each failure doubles it.
const [FLOOR, CEILING] = [100, 3_600_000]; // No wait is shorter, and none that a server asks for is longer.
const [STABLE, TRIES] = [10_000, 3]; // Up so long is of use; after so many that were of none, the next transport.
const [COOL, COOLEST] = [60_000, 600_000]; // Until a better transport is tried, at first and at most.
const [HOLD, LATE, POST] = [25_000, 10_000, 30_000]; // A poll is held, and may be late by; a POST may take.
const BATCH = 65_536; // UTF-16 units in one POST or message, or unsent before the ephemeral is let go.
const [ACK_WAIT, ACK_EVENTS] = [100, 50]; // With `ack`: so long after the first event, or when there are so many.
// What HTTP's status or a socket's close code says: never; not by this transport; not now.
const isFinal = (status) => [204, 401, 403, 1008].includes(status) || (status >= 4000 && status <= 4499);
const isUnfit = (status) => [400, 404, 405, 406, 411, 413, 415, 421, 1002, 1003, 1007, 1009].includes(status);
const isBusy = (status) => [429, 503, 1001, 1012, 1013].includes(status);
// `after`: the server asks to wait so long at least; `window`: to come back at some time within it.
const fault = (reason, status = 0, advice = {}) => Object.assign(new Error(reason), { status, ...advice });
const pause = (least) => Math.max(FLOOR, least) + Math.random() * BASE; // Not all that wait come back at once.

/**
 * The event-stream parser of the WHATWG standard, with the field `topic`: takes text, or the bytes of a stream, in any
 * pieces. `onblock` gets each block that has an id or data; a valid `retry` comes alone. `limit`: UTF-16 units of one.
 * @param {(block: Block) => void} onblock @param {number} [limit] @returns {(piece: Uint8Array | string) => void}
 */
export function blockParser(onblock, limit = 4_194_304) {
  const utf8 = new TextDecoder();
  let [block, partial, afterCr] = [/** @type {Block} */ ({}), "", false];
  const take = (line) => {
    const [, name, value = ""] = /^([^:]*)(?:: ?([^]*))?$/.exec(line) ?? [];
    if (name === "data") block.data = block.data === undefined ? value : `${block.data}\n${value}`;
    else if (["event", "topic"].includes(name) || (name === "id" && !value.includes("\0"))) block[name] = value;
    else if (name === "retry" && /^\d+$/.test(value) && Number.isSafeInteger(+value)) onblock({ retry: +value });
    if (line) return;
    const done = block;
    block = {};
    if (done.id !== undefined || done.data !== undefined) onblock(done);
  };
  return (piece) => {
    let text = typeof piece === "string" ? piece : utf8.decode(piece, { stream: true });
    if (!text) return;
    if (afterCr && text[0] === "\n") text = text.slice(1);
    afterCr = text.endsWith("\r");
    const lines = text.split(/\r\n?|\n/);
    lines[0] = partial + lines[0];
    partial = lines.pop() ?? "";
    lines.forEach(take);
    // A comment or an unknown field may be of any length.
    if (partial.length > 6 && !/^(?:id|topic|event|data|retry):/.test(partial)) partial = ":";
    if (partial.length + (block.data?.length ?? 0) > limit) throw fault(`a block is longer than ${limit}`);
  };
}

function encode(/** @type {any} */ { data, ...fields }) {
  const lines = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : `${name}: ${value}`));
  if (/[\r\n\0]/.test(lines.join(""))) throw new TypeError("a field other than data holds a line end or NUL");
  if (data !== undefined) lines.push(...data.split(/\r\n?|\n/).map((line) => `data: ${line}`));
  return `${lines.join("\n")}\n\n`;
}

/** Whether cursor `a` is beyond `b`, or of another log, which replaces `b`'s. @param {string} a @param {string} b */
export function above(a, b) {
  const [one, other] = [a, b].map((cursor) => /^(\d+)-(\d+)-([0-9a-f]+)$/.exec(cursor));
  if (!one || !other || one[3] !== other[3]) return a !== b && a !== "" && a !== "0";
  const [ms, seq] = [1, 2].map((part) => BigInt(one[part]) - BigInt(other[part]));
  return (ms || seq) > 0n;
}

function checked(topic) {
  if (/^[A-Za-z0-9_.:/-]{1,128}$/.test(topic)) return topic;
  throw new TypeError("a topic is 1 to 128 characters of A-Z a-z 0-9 _ . : / -");
}

// A connection, `live` from `since` on, when its attach is complete, until it is `over`. `leaving` has a topic for each
// unsubscription without an answer; `full`: nothing more goes up before the answers to what did; `anew`: see `#ended`.
const connection = (transport, anew) => /** @type {any} */ ({
  transport, anew, live: false, over: false, since: 0, events: 0, unacknowledged: 0, full: false, heartbeat: 25_000,
  abort: new AbortController(), leaving: [], timers: [],
});

/** A line to a hub. Its events are `Events` of tautline.d.ts, each with its `detail`. */
export class Tautline extends EventTarget {
  #base; #options; #transports; #topics; #cursor; #session = ""; #state = /** @type {State} */ ("connecting");
  // The transport that has its turn, and the one that worked; in a row, connections of no use by it, and failures.
  #rung = 0; #home = 0; #misses = 0; #failures = 0; #backoff = BASE; #cool = COOL; #waitTimer = 0; #coolTimer = 0;
  /** The cursors of topics that have not caught up. @type {Map<string, string>} */ #own = new Map(); #pauseTimer = 0;
  /** What has no answer, by key, each with the `line` that it went by. @type {Map<string, any>} */ #queue = new Map();
  #queued = 0; #keys = 0; #prefix = crypto.getRandomValues(new Uint32Array(2)).join("."); #line = connection("");

  /** @param {string | URL} base where `ws`, `events`, `poll`, `send` and `ack` are @param {Options} [options] */
  constructor(base, options = {}) {
    super();
    const { transports = ["websocket", "sse", "poll"], topics = ["default"], cursor = "" } = options;
    this.#base = new URL(`${base}/`.replace(/\/+$/, "/"), globalThis.document?.baseURI);
    this.#options = { probe: 10_000, attempts: Infinity, queue: 1_048_576, ...options };
    this.#transports = transports.filter((transport) => transport !== "websocket" || "WebSocket" in globalThis);
    [this.#topics, this.#cursor] = [new Set(topics.map(checked)), cursor];
    if (!this.#transports.length || !topics.length) throw new TypeError("no transport or no topic is left");
    this.#connect();
  }
  /** Everything of the topics up to here was told. Another line goes on from it with the option `cursor`. */
  get cursor() { return this.#cursor; }
  get transport() { return /** @type {Transport} */ (this.#transports[this.#rung]); } // Or whose turn it is.
  get state() { return this.#state; }
  get topics() { return /** @type {string[]} */ ([...this.#topics]); }
  /** Adds a topic, from now on or from a cursor (`0`: the oldest). @param {string} topic @param {string} [cursor] */
  subscribe(topic, cursor) {
    if (this.#topics.has(checked(topic))) return;
    this.#topics.add(topic);
    if (cursor) this.#own.set(topic, cursor);
    this.#change("subscribe", topic);
  }
  /** Leaves a topic, but not the last: a connection without topics would be on `default`. @param {string} topic */
  unsubscribe(topic) {
    if (this.#topics.has(topic) && this.#topics.size === 1) throw new TypeError("the last topic cannot be left");
    if (this.#forget(topic)) this.#change("unsubscribe", topic);
  }
  /** Asks who is on a topic; a `presence` event tells it. Nothing comes without a connection. @param {string} topic */
  presence(topic) { this.#sendNow(encode({ event: "tautline.presence", topic: checked(topic) })); }
  /** Publishes, now or when there is a connection; what is not kept (`keep: "no"`) now or never.
   * @param {string} topic @param {string} data @param {PublishOptions} [options] @returns {Promise<string>} */
  async publish(topic, data, { event, key = `${this.#prefix}.${(this.#keys += 1)}`, to, keep, slot } = {}) {
    if (this.#state === "closed") throw fault("the line is closed");
    if (event?.startsWith("tautline.")) throw new TypeError("types that begin with tautline. are the protocol's own");
    const usable = /^[!-~]{1,64}$/.test(key) && !this.#queue.has(key);
    if (!usable) throw new TypeError("a key is 1 to 64 visible ASCII characters, and not under way");
    const text = encode({ id: keep ? undefined : key, topic: checked(topic), event, to, keep, slot, data });
    if (keep) return this.#sendNow(text);
    if (this.#queued + text.length > this.#options.queue) throw fault(`more than ${this.#options.queue} would wait`);
    this.#queued += text.length;
    queueMicrotask(() => this.#flush());
    return new Promise((resolve, reject) => this.#queue.set(key, { key, text, resolve, reject }));
  }
  cut() { this.#ended(this.#line, fault("cut", 1001)); } // To see the line come back; held against no transport.
  retry() { if (this.#state === "waiting") this.#connect(); } // For the browser's `online` event, or a button.
  close() { this.#finish(fault("closed by the application")); } // For good. What has no answer is rejected.

  // Connecting, falling and climbing.
  #connect() {
    clearTimeout(this.#waitTimer);
    const line = (this.#line = connection(this.transport, this.#line.anew));
    this.#watch(line, this.#options.probe);
    (line.transport === "websocket" ? this.#socket(line) : this.#requests(line)).catch((why) => this.#ended(line, why));
    this.#become("connecting");
  }
  #watch(line, ms) { // Ends the line unless this is called again within the time.
    clearTimeout(line.watchTimer);
    if (!line.over) line.watchTimer = setTimeout(() => this.#ended(line, fault(`no block for ${ms} ms`)), ms);
  }
  #drop(line) {
    [line.over, line.live] = [true, false];
    for (const timer of [line.watchTimer, line.ackTimer, ...line.timers]) clearTimeout(timer);
    line.abort.abort();
  }
  #ended(line, /** @type {any} */ { message, status: said = 0, after = 0, window }) {
    if (line.over) return;
    const steady = line.live && Date.now() - line.since >= STABLE;
    // A session is a user's, who may be another by now: once more without it. Neither that nor one message that is too
    // big says anything against the transport.
    const denied = this.#session && [401, 403, ...(line.live ? [] : [4001, 4003])].includes(said);
    if ((line.anew = denied && (steady || !line.anew))) this.#session = "";
    this.#drop(line);
    const status = line.anew || (said === 1009 && this.#part(line, fault(message, said))) ? 1001 : said;
    if (steady) [this.#failures, this.#cool] = [0, this.#rung === 0 ? COOL : this.#cool];
    if (steady || line.events) this.#misses = this.#home = 0;
    else if (!isBusy(status)) this.#misses += 1;
    const last = this.#rung === this.#transports.length - 1;
    const gone = isFinal(status) || (isUnfit(status) && last) || this.#failures >= this.#options.attempts;
    if (gone) return this.#finish(fault(message, said));
    const falls = isUnfit(status) || this.#misses >= (this.#rung < this.#home ? 1 : TRIES);
    // The next transport is no worse for the failures of this one; behind the last, all have failed.
    const range = window ?? Math.min(CAP, this.#backoff * (falls && !last ? 1 : 2 ** this.#failures));
    const wait = Math.max(FLOOR, Math.min(CEILING, after) + Math.random() * Math.min(CEILING, range));
    if (falls) [this.#rung, this.#misses] = [last ? 0 : this.#rung + 1, 0];
    this.#waitTimer = setTimeout(() => this.#connect(), wait);
    this.#become("waiting", { wait, attempt: (this.#failures += 1), reason: message });
  }
  #climb() { // Leaves what works for what may be better: the cursor makes that lossless.
    this.#coolTimer = 0;
    if (this.#state !== "open" || this.#rung === 0) return;
    this.#ended(this.#line, fault("a better transport is tried", 1001));
    [this.#home, this.#rung, this.#misses, this.#cool] = [this.#rung, 0, 0, Math.min(COOLEST, this.#cool * 2)];
    this.retry();
  }
  #finish(cause) {
    if (this.#state === "closed") return;
    for (const timer of [this.#waitTimer, this.#coolTimer, this.#pauseTimer]) clearTimeout(timer);
    this.#drop(this.#line);
    this.#become("closed", { reason: cause.message, status: cause.status });
    for (const key of this.#queue.keys()) this.#settle(key, "reject", cause);
  }
  #become(state, more) { this.#tell("state", { state: (this.#state = state), transport: this.transport, ...more }); }
  #tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  // The transports: each runs until its connection has ended, and throws why.
  #attach(path, more) {
    const own = (topic) => (this.#own.has(topic) ? `${topic}@${this.#own.get(topic)}` : topic);
    const rest = { lastId: this.#cursor, ack: this.#options.ack && "1", ...more };
    const query = [...this.topics.map((topic) => ["topic", own(topic)]), ...Object.entries(rest)];
    return `${path}?${new URLSearchParams(query.filter(([, value]) => value))}`;
  }
  async #token() { return typeof this.#options.token === "function" ? this.#options.token() : this.#options.token; }
  async #socket(line) {
    const token = await this.#token();
    const path = this.#attach("ws", { session: this.#session, auth: token && "message" }); // The first is a token.
    const url = new URL(path, this.#base.href.replace("http", "ws"));
    await new Promise((_, reject) => {
      if (line.over) return;
      const socket = (line.socket = new WebSocket(url, "tautline"));
      line.abort.signal.addEventListener("abort", () => socket.close());
      socket.onopen = () => token && socket.send(encode({ event: "tautline.token", data: token }));
      socket.onmessage = ({ data }) => typeof data === "string" && this.#parser(line)(`${data}\n\n`);
      socket.onclose = ({ code, reason }) => {
        const window = [1012, 1013].includes(code) ? /(?:^|\s)retry=(\d{1,15})$/.exec(reason)?.[1] : undefined;
        reject(fault(`closed with ${code}${reason && `: ${reason}`}`, code, { window }));
      };
    });
  }
  // An event stream, or polls. The first poll is answered at once, which shows that they work.
  async #requests(line) {
    const polls = line.transport === "poll";
    for (let hold = 0; !line.over; hold = HOLD) {
      const [parse, began, before] = [this.#parser(line), Date.now(), line.events];
      if (hold) this.#watch(line, hold + LATE);
      const path = polls ? this.#attach("poll", { timeout: `${hold / 1_000}` }) : this.#attach("events", {});
      const answer = await this.#fetch(path, { headers: { Accept: "text/event-stream" }, signal: line.abort.signal });
      if (!/^text\/event-stream\s*(;|$)/i.test(answer.headers.get("Content-Type") ?? "")) throw fault("not a stream");
      const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
      for (let read = await reader.read(); !read.done && !line.over; read = await reader.read()) parse(read.value);
      if (!polls) throw fault("the stream ended");
      // Whoever answers before the time and with nothing is not asked again at once.
      if (line.events === before && Date.now() - began < hold) await new Promise((on) => setTimeout(on, pause(FLOOR)));
    }
  }
  #parser(line) { return blockParser((block) => this.#heard(line, block)); }
  async #fetch(path, options) {
    const token = await this.#token();
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    if (this.#session) headers["Tautline-Session"] = this.#session;
    const request = { ...options, headers, credentials: this.#options.credentials };
    const answer = await fetch(new URL(path, this.#base), request);
    this.#session = answer.headers.get("Tautline-Session") ?? this.#session;
    if (answer.status === 200) return answer;
    answer.body?.cancel().catch(() => {});
    const advice = answer.headers.get("Retry-After") ?? "";
    const after = /^\d+$/.test(advice) ? Number(advice) * 1_000 : Date.parse(advice) - Date.now();
    throw fault(`answered with ${answer.status}`, answer.status, { after: after || 0 });
  }

  // The way up: what is not under way goes in order, a batch as one message or POST. Where something is left behind a
  // batch, it goes when all of that is answered: nothing overtakes what is refused as too much.
  #flush() {
    const [line, [first]] = [this.#line, this.#queue.values()];
    if (!line.live || this.#pauseTimer || (line.full && first?.line === line)) return;
    let size = 0;
    const waiting = [...this.#queue.values()].filter((item) => item.line !== line);
    const batch = waiting.filter(({ text, alone }, i) => (size += alone ? BATCH : text.length) <= BATCH || i === 0);
    for (const item of batch) item.line = line;
    line.full = !line.socket || batch.length < waiting.length || batch[0]?.alone;
    const body = batch.map(({ text }) => text).join("");
    if (body) line.socket ? line.socket.send(body) : this.#posts(line, batch, body);
  }
  // A line whose way up fails has ended. What the hub gave no answer to, as it was too much at a time, goes again.
  async #posts(line, batch, body) {
    const cause = await this.#post(line, body).then(() => undefined, (why) => why);
    if (cause) return isUnfit(cause.status) ? this.#part(line, cause) : this.#ended(line, cause);
    const silent = batch.find((item) => item.line === line && this.#queue.has(item.key));
    if (silent) this.#postpone(silent, BASE);
  }
  // This one goes again after a while, and so do all behind it: their order stays.
  #postpone(item, least) {
    let behind = false;
    for (const other of this.#queue.values()) if ((behind ||= other === item)) other.line = undefined;
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = setTimeout(() => ((this.#pauseTimer = 0), this.#flush()), pause(least));
  }
  // What is under way was refused as a whole: it goes again one by one, and what is refused alone is given up.
  #part(line, cause) {
    const sent = [...this.#queue.values()].filter((item) => item.line === line);
    const bad = sent.filter(({ alone }) => alone || (sent.length === 1 && !line.socket));
    for (const item of sent) [item.line, item.alone] = [undefined, true];
    for (const { key } of bad) this.#settle(key, "reject", cause);
    this.#flush();
    return sent.length > 0;
  }
  async #post(line, body, path = "send") {
    const answer = await this.#fetch(path, { method: "POST", body, signal: AbortSignal.timeout(POST) });
    blockParser((block) => this.#told(line, block))(`${await answer.text()}\n\n`);
  }
  #sendNow(text) { // If there is a connection that takes it.
    const line = this.#line;
    this.#flush();
    const takes = line.live && (line.socket?.bufferedAmount ?? 0) < BATCH;
    if (takes) line.socket ? line.socket.send(text) : this.#post(line, text).catch(() => {});
    return "";
  }
  #acknowledge(line) {
    clearTimeout(line.ackTimer);
    line.ackTimer = line.unacknowledged = 0;
    if (line.socket) return line.socket.send(encode({ event: "tautline.ack", data: this.#cursor }));
    this.#post(line, "", `ack?lastId=${encodeURIComponent(this.#cursor)}`).catch(() => {});
  }

  // What comes: a block.
  #heard(line, /** @type {Block} */ { id = "", topic = "default", event = "message", data, retry }) {
    if (line.over) return;
    if (retry !== undefined) return void (this.#backoff = Math.min(CAP, Math.max(FLOOR, retry)));
    if (line.transport !== "poll") this.#watch(line, 2.5 * line.heartbeat);
    if (data === undefined) {
      if (above(id, this.#cursor)) this.#cursor = id;
      if (line.live) return;
      [line.live, line.since] = [true, Date.now()];
      if (this.#rung) this.#coolTimer ||= setTimeout(() => this.#climb(), this.#cool * (0.75 + Math.random() / 2));
      this.#become("open");
      this.#flush();
    } else if (event.startsWith("tautline.")) this.#told(line, { event, topic, data });
    else if (!line.leaving.includes(topic) && (!id || this.#moves(line, topic, id))) {
      line.events += 1;
      this.#tell("event", { id, topic, event: event || "message", data });
    }
  }
  #place(topic, cursor) { this.#own.has(topic) ? this.#own.set(topic, cursor) : (this.#cursor = cursor); }
  #moves(line, topic, id) { // Whether an event is new; then its cursor is where we are.
    const moves = above(id, this.#own.get(topic) ?? this.#cursor);
    if (moves) this.#place(topic, id);
    if (!this.#options.ack || line.transport === "poll") return moves; // The next poll says it.
    if ((line.unacknowledged += 1) >= ACK_EVENTS) this.#acknowledge(line);
    else line.ackTimer ||= setTimeout(() => this.#acknowledge(line), ACK_WAIT);
    return moves;
  }
  #told(line, /** @type {any} */ { event, topic, data = "" }) { // An event of the protocol's own.
    const lines = data.split("\n").map((line) => line.split(" "));
    const [[first, second]] = lines;
    if (event === "tautline.session") {
      const { session, heartbeat } = Object.fromEntries(lines);
      [this.#session, line.heartbeat] = [session ?? this.#session, Number(heartbeat) || line.heartbeat];
    } else if (event === "tautline.gap") {
      // Where events are not only expired, what comes is behind the cursor whatever its ids.
      for (const [name, why] of lines) if (why !== "expired" && !line.leaving.includes(name)) this.#place(name, "0");
      this.#tell("gap", { topics: lines.map(([topic, reason]) => ({ topic, reason })) });
    } else if (event === "tautline.subscribed" && !line.leaving.includes(topic)) {
      this.#own.delete(topic);
      if (above(data, this.#cursor)) this.#cursor = data;
      this.#tell("subscribed", { topic, cursor: data });
    } else if (event === "tautline.unsubscribed") {
      if (data === "revoked") this.#forget(topic);
      else if (line.leaving.includes(topic)) line.leaving.splice(line.leaving.indexOf(topic), 1);
      this.#tell("unsubscribed", { topic, reason: data });
    } else if (event === "tautline.presence") {
      const here = first === "here" && { users: data.split("\n").slice(1), count: Number(second) };
      this.#tell("presence", { topic, change: first, users: [data.slice(first.length + 1)], ...here });
    } else if (event === "tautline.ack") this.#settle(first, "resolve", second);
    else if (event === "tautline.error") this.#refused(line, topic, lines);
  }
  #refused(line, topic, [[digits, command = "", key = ""], words = [], [, wait] = []]) {
    const [status, message, after] = [Number(digits), words.join(" "), Number(wait ?? 0)];
    const [busy, item] = [isBusy(status), command === "publish" && this.#queue.get(key)];
    if (item && !busy) this.#settle(key, "reject", fault(message, status));
    else if (item?.line === line) this.#postpone(item, after || BASE);
    const again = () => this.#topics.has(topic) && this.#change("subscribe", topic);
    if (command === "subscribe") busy ? line.timers.push(setTimeout(again, pause(after || BASE))) : this.#forget(topic);
    // What is not left cannot be had from another place: the next connection says which topics there are.
    if (command === "unsubscribe" && busy) this.#ended(line, fault(message, status, { after }));
    this.#tell("error", { status, command, key, topic, message, after });
  }
  #settle(key, how, outcome) {
    const item = this.#queue.get(key);
    if (!this.#queue.delete(key)) return;
    this.#queued -= item.text.length;
    item[how](outcome);
    this.#flush();
  }
  #forget(topic) {
    const had = this.#topics.delete(topic);
    this.#own.delete(topic);
    if (!this.#topics.size) this.#finish(fault("no topic is left", 403));
    return had;
  }
  // Tells the hub of a changed topic: by a command, or by a new connection for all that change now.
  #change(command, topic) {
    const [line, data] = [this.#line, this.#own.get(topic)];
    this.#flush();
    // What comes of the topic before the answer is of the old subscription, also where there is a new one by then.
    if (command === "unsubscribe") line.leaving.push(topic);
    if (line.live && line.socket) return line.socket.send(encode({ event: `tautline.${command}`, topic, data }));
    if (line.over) return;
    this.#drop(line);
    queueMicrotask(() => this.#line === line && this.#connect());
  }
}
