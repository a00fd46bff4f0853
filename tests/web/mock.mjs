// A small hub in memory, written from docs/PROTOCOL.md alone: what the client is tested against without the server.
// One process, one log, no limits but the history's; nothing here is meant for use.

import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";

const block = ({ id, topic, event, data }) =>
  [id && `id: ${id}`, topic && `topic: ${topic}`, event && event !== "message" && `event: ${event}`, ...(data === undefined ? [] : data.split("\n").map((line) => `data: ${line}`))]
    .filter(Boolean).join("\n") + "\n\n";

// Blocks of commands: whole texts, so that splitting is enough.
function commands(text) {
  const blocks = text.replace(/\r\n?/g, "\n").split(/\n\n+/).filter((block) => block.trim());
  return blocks.map((block) => {
    const fields = {};
    for (const line of block.split("\n")) {
      const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      fields[name] = name === "data" && "data" in fields ? `${fields.data}\n${value}` : value;
    }
    return fields;
  });
}

export class Hub {
  log = randomBytes(4).toString("hex");
  entries = []; floor = new Map(); head = { ms: Date.now(), seq: 0 }; subscribers = new Set(); keys = new Map(); sockets = new Set(); polls = new Map();
  // What came, for the tests to look at.
  requests = []; acks = [];

  constructor({ heartbeat = 1000, history = 100, refuse = () => 0 } = {}) {
    Object.assign(this, { heartbeat, history, refuse });
    this.server = createServer((request, answer) => this.#request(request, answer));
    this.server.on("upgrade", (request, socket) => this.#upgrade(request, socket));
    this.server.on("connection", (socket) => { this.sockets.add(socket); socket.on("close", () => this.sockets.delete(socket)); socket.on("error", () => {}); });
  }

  async listen(port = 0) {
    await new Promise((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    return this;
  }

  // As a crash would.
  async stop() {
    const closed = new Promise((resolve) => this.server.close(() => resolve()));
    for (const socket of this.sockets) socket.destroy();
    for (const subscriber of [...this.subscribers]) subscriber.end();
    await closed;
  }

  text = (at) => `${at.ms}-${at.seq}-${this.log}`;

  publish({ topic = "default", event = "message", data = "", id: key, to, keep }, session) {
    const name = key && `${session} ${key}`;
    if (name && this.keys.has(name)) return this.keys.get(name);
    if (keep === "no") {
      for (const subscriber of this.subscribers) if (subscriber.topics.has(topic)) subscriber.send({ topic, event, data });
      return "";
    }
    const ms = Math.max(Date.now(), this.head.ms);
    this.head = { ms, seq: ms === this.head.ms ? this.head.seq + 1 : 0 };
    const entry = { at: this.head, id: this.text(this.head), topic, event, data, not: to === "others" ? session : undefined };
    this.entries.push(entry);
    const mine = this.entries.filter((entry) => entry.topic === topic);
    if (mine.length > this.history) {
      this.entries.splice(this.entries.indexOf(mine[0]), 1);
      this.floor.set(topic, mine[0].at);
    }
    if (name) this.keys.set(name, entry.id);
    for (const subscriber of [...this.subscribers]) if (subscriber.topics.has(topic) && entry.not !== subscriber.session) subscriber.send(entry);
    return entry.id;
  }

  // What an attach gives: gaps and what is retained, in order.
  replay(topics, session) {
    const after = (one, other) => one.ms > other.ms || (one.ms === other.ms && one.seq > other.seq);
    const [gaps, events] = [[], []];
    for (const [topic, cursor] of topics) {
      if (cursor === undefined) continue;
      const [, ms, seq, log] = /^(\d+)-(\d+)(?:-([0-9a-f]{8}))?$/.exec(cursor) ?? [];
      let at = { ms: Number(ms), seq: Number(seq) };
      if (cursor === "0") at = { ms: -1, seq: 0 };
      else if (log !== this.log) gaps.push(`${topic} unknown`), (at = { ms: -1, seq: 0 });
      else if (after(at, this.head)) gaps.push(`${topic} ahead`), (at = { ms: -1, seq: 0 });
      else if (this.floor.has(topic) && after(this.floor.get(topic), at)) gaps.push(`${topic} expired`);
      events.push(...this.entries.filter((entry) => entry.topic === topic && entry.not !== session && after(entry.at, at)));
    }
    events.sort((one, other) => (after(one.at, other.at) ? 1 : -1));
    return [...(gaps.length ? [{ event: "tautline.gap", data: gaps.join("\n") }] : []), ...events];
  }

  // The query of an attach: topics with their cursors, and the session.
  #asked(request) {
    const url = new URL(request.url, "http://hub");
    const query = url.searchParams;
    const cursor = request.headers["last-event-id"] ?? query.get("lastEventId") ?? query.get("lastId") ?? undefined;
    const named = query.getAll("topic").map((text) => text.split("@"));
    const topics = new Map((named.length ? named : [["default"]]).map(([topic, own]) => [topic, own ?? cursor]));
    topics.own = new Map(named.filter(([, own]) => own !== undefined));
    const session = request.headers["tautline-session"] ?? query.get("session") ?? randomBytes(16).toString("hex");
    this.requests.push({ path: url.pathname, query: Object.fromEntries(query), topics: query.getAll("topic"), headers: request.headers, method: request.method });
    return { path: url.pathname.split("/").pop(), query, topics, session, refused: this.refuse(request) };
  }

  #attach(topics, session, write, end) {
    const subscriber = { session, topics: new Set(topics.keys()), send: (event) => write(block(event)) };
    const beat = setInterval(() => write(block({ id: this.text(this.head) })), this.heartbeat / 2);
    subscriber.end = () => { clearInterval(beat); this.subscribers.delete(subscriber); end(); };
    write(block({ event: "tautline.session", data: `session ${session}\nheartbeat ${this.heartbeat}` }));
    const together = new Map([...topics].filter(([topic]) => !topics.own.has(topic)));
    for (const event of this.replay(together, session)) subscriber.send(event);
    write(block({ id: this.text(this.head) }));
    for (const event of this.replay(topics.own, session)) subscriber.send(event);
    for (const topic of topics.own.keys()) subscriber.send({ event: "tautline.subscribed", topic, data: this.text(this.head) });
    this.subscribers.add(subscriber);
    return subscriber;
  }

  // The answers to a command, as blocks.
  command({ event = "message", topic = "default", ...fields }, session, subscriber) {
    if (!event.startsWith("tautline.")) {
      const id = this.publish({ ...fields, event, topic }, session);
      return fields.id ? block({ event: "tautline.ack", topic, data: `${fields.id} ${id}` }) : "";
    }
    if (event === "tautline.subscribe" && subscriber) {
      subscriber.topics.add(topic);
      const replayed = this.replay(new Map([[topic, fields.data || undefined]]), session);
      return replayed.map(block).join("") + block({ event: "tautline.subscribed", topic, data: this.text(this.head) });
    }
    if (event === "tautline.unsubscribe" && subscriber) {
      subscriber.topics.delete(topic);
      return block({ event: "tautline.unsubscribed", topic, data: "asked" });
    }
    if (event === "tautline.ack") {
      this.acks.push(fields.data);
      return "";
    }
    if (event === "tautline.presence") return block({ event: "tautline.presence", topic, data: "here 1\nAda" });
    return block({ event: "tautline.error", topic, data: `400 ${event.slice(9)}\nnot a command here` });
  }

  async #request(request, answer) {
    const { path, query, topics, session, refused } = this.#asked(request);
    const stream = { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "Tautline-Session": session };
    let body = "";
    request.setEncoding("utf8");
    try {
      for await (const piece of request) body += piece;
    } catch {
      return;
    }
    // It went away meanwhile: its `close` would not be heard any more.
    if (answer.destroyed || request.socket.destroyed) return;
    if (refused) answer.writeHead(refused).end();
    else if (path === "send") answer.writeHead(200, stream).end(commands(body).map((fields) => this.command(fields, session)).join(""));
    else if (path === "publish") {
      const topic = query.get("topic") ?? "default";
      const id = this.publish({ topic, data: body, event: query.get("event") ?? undefined, id: query.get("key") ?? undefined }, session);
      answer.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ id, topic }));
    } else if (path === "ack") {
      this.acks.push(query.get("lastId"));
      answer.writeHead(204).end();
    } else if (path === "events") {
      answer.writeHead(200, stream);
      const subscriber = this.#attach(topics, session, (text) => answer.write(text), () => answer.end());
      answer.on("close", subscriber.end);
    } else if (path === "poll") this.#poll(answer, topics, session, Number(query.get("timeout") ?? 25) * 1000, stream);
    else answer.writeHead(404).end();
  }

  #poll(answer, topics, session, timeout, head) {
    const give = () => {
      held?.end();
      clearTimeout(timer);
      if (this.polls.get(session) === give) this.polls.delete(session);
      if (answer.writableEnded) return;
      const events = this.replay(topics, session);
      const more = events.length > 100;
      if (more) events.length = 100;
      const position = more ? events[99].id : this.text(this.head);
      if (!more) for (const topic of topics.own.keys()) events.push({ event: "tautline.subscribed", topic, data: position });
      answer.writeHead(200, { ...head, ...(more && { "Tautline-More": "1" }) }).end(events.map(block).join("") + block({ id: position }));
    };
    let held, timer;
    this.polls.get(session)?.();
    if (timeout === 0 || [...topics.values()].every((cursor) => cursor === undefined) || this.replay(topics, session).length) return give();
    held = { session, topics: new Set(topics.keys()), send: give, end: () => this.subscribers.delete(held) };
    this.subscribers.add(held);
    this.polls.set(session, give);
    timer = setTimeout(give, timeout);
    answer.on("close", () => { held.end(); clearTimeout(timer); });
  }

  #upgrade(request, socket) {
    const { path, topics, session, refused } = this.#asked(request);
    if (path !== "ws" || refused) return socket.end(`HTTP/1.1 ${refused || 404} Refused\r\nContent-Length: 0\r\n\r\n`);
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: tautline\r\n\r\n`);
    const frame = (opcode, payload) => {
      const bytes = Buffer.from(payload);
      const long = bytes.length > 65535 ? 127 : bytes.length > 125 ? 126 : bytes.length;
      const head = Buffer.alloc(long === 127 ? 10 : long === 126 ? 4 : 2);
      head.set([0x80 | opcode, long]);
      if (long === 127) head.writeBigUInt64BE(BigInt(bytes.length), 2);
      else if (long === 126) head.writeUInt16BE(bytes.length, 2);
      if (!socket.destroyed) socket.write(Buffer.concat([head, bytes]));
    };
    const subscriber = this.#attach(topics, session, (text) => frame(1, text), () => socket.end());
    subscriber.close = (code, reason = "") => { frame(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)])); subscriber.end(); };
    socket.on("close", subscriber.end);
    let held = Buffer.alloc(0);
    socket.on("data", (bytes) => {
      held = Buffer.concat([held, bytes]);
      for (;;) {
        if (held.length < 6) return;
        const short = held[1] & 127;
        const head = short === 127 ? 14 : short === 126 ? 8 : 6;
        if (held.length < head) return;
        const length = short === 127 ? Number(held.readBigUInt64BE(2)) : short === 126 ? held.readUInt16BE(2) : short;
        if (held.length < head + length) return;
        const mask = held.subarray(head - 4, head);
        const payload = Buffer.from(held.subarray(head, head + length).map((byte, i) => byte ^ mask[i & 3]));
        const opcode = held[0] & 15;
        held = held.subarray(head + length);
        if (opcode === 8) { frame(8, payload); subscriber.end(); }
        else if (opcode === 9) frame(10, payload);
        else if (opcode === 1) for (const fields of commands(payload.toString())) {
          const answers = this.command(fields, session, subscriber);
          if (answers) frame(1, answers);
        }
      }
    });
  }
}
