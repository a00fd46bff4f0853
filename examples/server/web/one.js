// The panel "One line": a topic by whichever transport works, what is cut and disabled on purpose, and the count of what came.

import { Tautline, above } from "/tautline.js";
import { clock } from "./chat.js";

// Topics under room/ tell who is here.
const TOPIC = "room/line";
const KEPT = 100;
const BURST = 10;
const NAMES = { websocket: "WebSocket", sse: "Event stream", poll: "Long polling" };

export class One {
  #parts;
  #line;
  #ticker = 0;
  #people = new Set();
  #last = "";
  #counts = { acknowledged: 0, received: 0, twice: 0, gaps: 0 };
  #published = 0;
  // Header lines for a POST, where a token was given; and what is done where one is needed.
  authorization = () => ({});
  ontoken = () => {};

  constructor(parts) {
    this.#parts = parts;
    parts.cut.addEventListener("click", () => this.#line.cut());
    parts.now.addEventListener("click", () => this.#line.retry());
    parts.publish.addEventListener("click", () => this.#publish());
    for (const box of parts.transports) {
      box.addEventListener("change", () => {
        this.#guard();
        this.#open(this.#line.cursor);
      });
    }
    this.#guard();
    this.#open();
  }

  // Without any transport there is no line: the last one stays.
  #guard() {
    const chosen = this.#parts.transports.filter((box) => box.checked);
    for (const box of this.#parts.transports) box.disabled = chosen.length === 1 && box.checked;
  }

  // A line by the transports that are chosen, from where the one before was.
  #open(cursor) {
    const before = this.#line;
    const transports = this.#parts.transports.filter((box) => box.checked).map((box) => box.value);
    const line = new Tautline("/", { topics: [TOPIC], transports, cursor });
    this.#line = line;
    before?.close();
    // What an older line still says is no news.
    const on = (name, react) => line.addEventListener(name, ({ detail }) => this.#line === line && react(detail));
    on("event", (event) => this.#receive(event));
    on("gap", ({ topics }) => this.#gap(topics));
    on("presence", (presence) => this.#presence(presence));
    on("state", (state) => this.#state(state));
    this.#state({ state: line.state, transport: line.transport });
  }

  #receive({ id, data }) {
    this.#counts.received += 1;
    // The client drops these; here it is counted whether that is so.
    if (id && this.#last && !above(id, this.#last)) this.#counts.twice += 1;
    if (id) this.#last = id;
    this.#put(data, id);
    this.#show();
  }

  #gap(topics) {
    this.#counts.gaps += 1;
    // Another log: its ids are no older for being smaller.
    if (topics.some(({ reason }) => reason !== "expired")) this.#last = "";
    this.#put(topics.map(({ topic, reason }) => `Gap in ${topic}: ${reason}`).join(", "), "", "gap");
    this.#show();
  }

  #presence({ change, users }) {
    if (change === "here") this.#people.clear();
    for (const user of users) change === "leave" ? this.#people.delete(user) : this.#people.add(user);
    this.#parts.here.textContent = `${this.#people.size} here`;
  }

  async #publish() {
    this.#problem("");
    const before = this.#published;
    this.#published += BURST;
    const each = Array.from({ length: BURST }, (_, i) => this.#send(`No. ${before + i + 1}`));
    for (const answer of each) {
      try {
        await answer;
        this.#counts.acknowledged += 1;
      } catch (fault) {
        if (fault.status === 401 || fault.status === 403) this.ontoken();
        this.#problem(fault.status === 403 ? "Publishing takes the server's token." : fault.message);
      }
      this.#show();
    }
  }

  // A page cannot put a token into a WebSocket's handshake; where there is one, it goes with a POST.
  async #send(data) {
    const headers = this.authorization();
    if (!headers.Authorization) return this.#line.publish(TOPIC, data);
    const answer = await fetch(`/publish?topic=${TOPIC}`, { method: "POST", body: data, headers });
    if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim()), { status: answer.status });
  }

  #state({ state, transport, wait, attempt, reason }) {
    const { line, name, words, delay, now, cut, cursor } = this.#parts;
    line.dataset.state = state;
    line.dataset.transport = transport;
    name.textContent = NAMES[transport];
    words.textContent = { open: "connected", waiting: "lost", closed: `closed: ${reason}` }[state] ?? state;
    now.hidden = state !== "waiting";
    cut.disabled = state !== "open";
    clearInterval(this.#ticker);
    delay.textContent = "";
    if (state === "waiting") {
      const until = performance.now() + wait;
      const tick = () => (delay.textContent = `try ${attempt} in ${Math.max(0, (until - performance.now()) / 1000).toFixed(1)} s`);
      this.#ticker = setInterval(tick, 100);
      tick();
    } else if (state === "open") {
      // Heartbeats move it, too, and say nothing.
      this.#ticker = setInterval(() => (cursor.textContent = this.#line.cursor), 250);
    }
    cursor.textContent = this.#line.cursor || "–";
  }

  #problem(text) {
    this.#parts.problem.textContent = text;
    this.#parts.problem.hidden = !text;
  }

  #put(text, id, kind = "") {
    const item = document.createElement("li");
    item.className = `new ${kind}`;
    const what = document.createElement("span");
    what.className = "what";
    what.textContent = text;
    const when = document.createElement("span");
    when.className = "when";
    const code = document.createElement("code");
    code.textContent = id;
    when.append(clock(Date.now()), code);
    item.append(what, when);
    this.#parts.events.prepend(item);
    while (this.#parts.events.children.length > KEPT) this.#parts.events.lastChild.remove();
  }

  #show() {
    for (const [name, count] of Object.entries(this.#counts)) this.#parts[name].textContent = count;
    this.#parts.cursor.textContent = this.#line.cursor;
  }
}
