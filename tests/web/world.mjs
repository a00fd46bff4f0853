// A scripted world for the client: sockets and requests that the test answers, and a clock that it moves.

import { mock } from "node:test";
import { Tautline } from "../../examples/web/tautline.js";

export const world = { sockets: [], requests: [], random: 0.5, lines: [] };

class Socket {
  bufferedAmount = 0; sent = []; closed = false;
  constructor(url, protocol) {
    Object.assign(this, { url: new URL(url), protocol });
    world.sockets.push(this);
  }
  send(text) { this.sent.push(text); }
  close() { this.closed = true; }
  // The server's part.
  open() { this.onopen?.({}); return this; }
  say(...blocks) { for (const block of blocks) this.onmessage?.({ data: block }); return this; }
  end(code = 1006, reason = "") { this.onclose?.({ code, reason }); }
}

function request(url, options) {
  return new Promise((resolve, reject) => {
    const one = { url: new URL(url), method: "GET", ...options, aborted: false };
    let body;
    one.answer = (status = 200, headers = {}, text) => {
      const stream = new ReadableStream({ start: (controller) => (body = controller) });
      const type = status === 200 ? { "Content-Type": "text/event-stream" } : {};
      resolve(new Response(status === 204 ? null : stream, { status, headers: { ...type, ...headers } }));
      if (text !== undefined) one.say(text).end();
      return one;
    };
    one.say = (...texts) => { for (const text of texts) body.enqueue(new TextEncoder().encode(text)); return one; };
    one.end = () => body.close();
    one.fail = (cause = new TypeError("network")) => { reject(cause); body?.error(cause); };
    options.signal?.addEventListener("abort", () => { one.aborted = true; one.fail(new DOMException("aborted", "AbortError")); });
    world.requests.push(one);
  });
}

const kept = { WebSocket: globalThis.WebSocket, fetch: globalThis.fetch, random: Math.random };

export function begin() {
  Object.assign(world, { sockets: [], requests: [], random: 0.5, lines: [] });
  globalThis.WebSocket = Socket;
  globalThis.fetch = request;
  Math.random = () => world.random;
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
}

export function end() {
  for (const line of world.lines) line.close();
  mock.timers.reset();
  Math.random = kept.random;
  globalThis.fetch = kept.fetch;
  if (kept.WebSocket) globalThis.WebSocket = kept.WebSocket;
  else delete globalThis.WebSocket;
}

export const settle = async () => { for (let i = 0; i < 6; i += 1) await new Promise(setImmediate); };
export async function pass(ms) {
  await settle();
  mock.timers.tick(ms);
  await settle();
}

// A line whose events are kept in `told`, by name.
export async function line(options = {}) {
  const made = new Tautline("http://hub/base/", { topics: ["a"], ...options });
  world.lines.push(made);
  made.told = {};
  for (const name of ["event", "gap", "presence", "state", "error", "subscribed", "unsubscribed"]) {
    made.told[name] = [];
    made.addEventListener(name, ({ detail }) => made.told[name].push(detail));
  }
  made.closed = () => made.told.state.filter(({ state }) => state === "closed").map(({ reason, status }) => ({ reason, status }));
  made.data = () => made.told.event.map(({ data }) => data);
  await settle();
  return made;
}

export const block = (fields) =>
  `${Object.entries(fields).map(([name, value]) => String(value).split("\n").map((line) => `${name}: ${line}\n`).join("")).join("")}\n`;
export const session = block({ event: "tautline.session", data: "session S1\nheartbeat 10000" });
export const at = (n, log = "aa") => `1000-${n}-${log}`;
export const event = (n, data = `e${n}`, topic = "a") => block({ id: at(n), topic, data });
export const position = (n, log) => block({ id: at(n, log) });
export const socket = () => world.sockets.at(-1);
export const asked = (path) => world.requests.filter(({ url }) => url.pathname === `/base/${path}`);
// The last socket comes up, its attach complete at `n`.
export async function up(n = 0, ...replayed) {
  socket().open().say(session, ...replayed, position(n));
  await settle();
  return socket();
}
export const fields = (text) => Object.fromEntries(text.trimEnd().split("\n").map((line) => line.split(": ", 2)));
