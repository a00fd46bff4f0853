// Two lines to the server that come back by themselves: a WebSocket and an event stream.
//
// Both wait longer after each failure, by chance up to a bound that doubles (full jitter): clients that lost their server together do not
// come back together. Only a line that held for a while makes the next wait short again.

import { blockParser } from "/tautline.js";

const BASE = 1000;
const CAP = 30000;
const LEAST = 100;
const STABLE = 10000;
// An attempt that takes longer has failed.
const CONNECT_DEADLINE = 10000;

const PING_EVERY = 1000;
const PONG_DEADLINE = 10000;
// The server's figures come every second; without them for so long the stream is dead, whatever the browser says.
const STREAM_SILENCE = 15000;

class Line {
  #attempts = 0;
  #timer = 0;
  #stable = 0;
  state = "connecting";
  // What the page shows: called with the state, the number of the attempt, and when the next one is (by performance.now()).
  onstate = () => {};

  constructor() {
    const hurry = () => {
      if (this.state === "waiting" && document.visibilityState === "visible") this.now();
    };
    addEventListener("online", hurry);
    document.addEventListener("visibilitychange", hurry);
  }

  start() {
    this.#become("connecting");
    this.#timer = setTimeout(() => this.lost(), CONNECT_DEADLINE);
    this.open();
  }

  // Without waiting any longer.
  now() {
    clearTimeout(this.#timer);
    this.start();
  }

  held() {
    clearTimeout(this.#timer);
    this.#stable = setTimeout(() => (this.#attempts = 0), STABLE);
    this.#become("open");
  }

  lost() {
    if (this.state === "waiting") return;
    clearTimeout(this.#timer);
    clearTimeout(this.#stable);
    this.drop();
    const bound = Math.min(CAP, BASE * 2 ** this.#attempts);
    this.#attempts += 1;
    const wait = Math.max(LEAST, Math.random() * bound);
    this.#timer = setTimeout(() => this.start(), wait);
    this.#become("waiting", performance.now() + wait);
  }

  #become(state, until = 0) {
    this.state = state;
    this.onstate(state, this.#attempts, until);
  }
}

// A WebSocket that speaks JSON, and measures its round trip: a page does not see the protocol's own pings.
export class Socket extends Line {
  #url;
  #socket = null;
  #beat = 0;
  #refs = 0;
  #pings = new Map();
  onmessage = () => {};
  // What was published comes as a block of the hub's, and not in JSON.
  onblock = () => {};
  onrtt = () => {};

  constructor(path) {
    super();
    this.#url = new URL(path, location.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
  }

  // Sends a request, and says under which `ref` its answer comes; 0 if there is no line.
  ask(request) {
    if (this.state !== "open" || this.#socket?.readyState !== WebSocket.OPEN) return 0;
    const ref = ++this.#refs;
    this.#socket.send(JSON.stringify({ ...request, ref }));
    return ref;
  }

  open() {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => {
      this.held();
      this.#beat = setInterval(() => this.#ping(), PING_EVERY);
      this.#ping();
    };
    const parse = blockParser((block) => this.onblock(block));
    socket.onmessage = (event) => {
      if (!event.data.startsWith("{")) return parse(`${event.data}\n\n`);
      const message = JSON.parse(event.data);
      if (message.type !== "pong") return this.onmessage(message);
      const sent = this.#pings.get(message.ref);
      this.#pings.clear();
      if (sent !== undefined) this.onrtt(performance.now() - sent);
    };
    socket.onclose = () => this.lost();
  }

  drop() {
    clearInterval(this.#beat);
    this.#pings.clear();
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #ping() {
    const [oldest] = this.#pings.values();
    if (oldest !== undefined && performance.now() - oldest > PONG_DEADLINE) return this.lost();
    const sent = performance.now();
    const ref = this.ask({ type: "ping" });
    if (ref) this.#pings.set(ref, sent);
  }
}

// An event stream of the hub's, by the browser's own EventSource. It would come back by itself, but in step with all others; so each time it
// fails, this opens a new one, from the last event's id.
export class Stream extends Line {
  #source = null;
  #last = "";
  #heard = 0;
  #watch = 0;
  topics = [];
  onevent = () => {};
  onfigures = () => {};

  open() {
    const url = new URL("/events", location.href);
    for (const topic of this.topics) url.searchParams.append("topic", topic);
    if (this.#last) url.searchParams.set("lastEventId", this.#last);
    const source = new EventSource(url);
    this.#source = source;
    source.onopen = () => {
      this.#heard = performance.now();
      this.#watch = setInterval(() => {
        if (performance.now() - this.#heard > STREAM_SILENCE) this.lost();
      }, 1000);
      this.held();
    };
    source.onmessage = (event) => {
      this.#hear(event);
      this.onevent(event);
    };
    source.addEventListener("stats", (event) => {
      this.#hear(event);
      this.onfigures(JSON.parse(event.data));
    });
    source.onerror = () => this.lost();
  }

  // Another topic: a new stream, and no failure.
  follow(topics) {
    this.topics = topics;
    this.drop();
    this.now();
  }

  drop() {
    clearInterval(this.#watch);
    this.#source?.close();
    this.#source = null;
  }

  #hear(event) {
    this.#heard = performance.now();
    if (event.lastEventId) this.#last = event.lastEventId;
  }
}
