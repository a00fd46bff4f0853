// A page keeps its place: events that are counted reach it once each and in order, while a proxy between it and the server cuts
// WebSockets behind their handshake, refuses event streams, refuses everything, and while the server restarts.
// `node place.mjs --mock` uses the small hub of tests/web in place of the example server.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Hub } from "../web/mock.mjs";
import { Server } from "./server.mjs";

const mocked = process.argv.includes("--mock");
async function start(port = 0) {
  if (!mocked) {
    const server = await Server.start("--port", String(port), "--workers", "2");
    return { port: Number(server.port), stop: () => server.stop() };
  }
  const hub = await new Hub({ heartbeat: 2_000 }).listen(port);
  return { port: hub.port, stop: () => hub.stop() };
}

// What lies between the page and the server. `mode` is what it does to whom.
class Proxy {
  mode = "pass";
  sockets = new Set();
  refused = { ws: 0, events: 0, all: 0 };

  constructor(port) {
    this.port = port;
    this.server = createServer((request, answer) => this.#pass(request, answer));
    this.server.on("upgrade", (request, socket) => this.#upgrade(request, socket));
    this.server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
      socket.on("error", () => {});
    });
  }

  async listen() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  // From now on so; what is open is cut.
  becomes(mode) {
    this.mode = mode;
    for (const socket of this.sockets) socket.destroy();
  }

  #pass(request, answer) {
    const own = { "/place": ["text/html", "<!doctype html><title>place</title>"], "/place.js": ["text/javascript", client] }[request.url];
    if (own) return answer.writeHead(200, { "Content-Type": own[0], Connection: "close" }).end(own[1]);
    if (this.#refuses(request)) return request.socket.destroy();
    const options = { port: this.port, path: request.url, method: request.method, headers: request.headers };
    const on = ask(options, (from) => {
      answer.writeHead(from.statusCode, from.rawHeaders);
      answer.flushHeaders();
      from.pipe(answer);
      from.on("error", () => request.socket.destroy());
    });
    on.on("error", () => request.socket.destroy());
    answer.on("close", () => on.destroy());
    request.pipe(on);
  }

  #refuses(request) {
    const events = this.mode === "polls only" && request.url.includes("/events");
    if (events) this.refused.events += 1;
    if (this.mode === "nothing") this.refused.all += 1;
    return events || this.mode === "nothing";
  }

  #upgrade(request, socket) {
    if (this.#refuses(request)) return socket.destroy();
    const on = ask({ port: this.port, path: request.url, headers: request.headers });
    on.on("error", () => socket.destroy());
    on.on("response", () => socket.destroy());
    on.on("upgrade", (answer, to, head) => {
      const lines = [];
      for (let i = 0; i < answer.rawHeaders.length; i += 2) lines.push(`${answer.rawHeaders[i]}: ${answer.rawHeaders[i + 1]}`);
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`);
      to.on("error", () => socket.destroy());
      socket.on("close", () => to.destroy());
      if (this.mode !== "pass") {
        this.refused.ws += 1;
        to.destroy();
        return socket.end();
      }
      to.on("close", () => socket.destroy());
      socket.write(head);
      to.pipe(socket).pipe(to);
    });
    on.end();
  }
}

const client = readFileSync(new URL("../../examples/web/tautline.js", import.meta.url));
let server = await start();
const proxy = new Proxy(server.port);
const url = await proxy.listen();
const profile = mkdtempSync(join(tmpdir(), "tautline-place-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

let page;
let published = 0;
async function publish(count) {
  for (let i = 0; i < count; i += 1) {
    published += 1;
    const answer = await fetch(`http://127.0.0.1:${server.port}/publish?topic=counted`, { method: "POST", body: String(published) });
    assert.equal(answer.status, 200);
  }
}
async function until(holds, argument, timeout = 30_000) {
  for (const end = Date.now() + timeout; !(await page.evaluate(holds, argument)); await new Promise((resolve) => setTimeout(resolve, 50))) {
    if (Date.now() > end) throw new Error(`did not come to hold: ${holds} with ${argument}; ${await page.evaluate(() => JSON.stringify({ ...told, got: told.got.length }))}`);
  }
}
// Everything that was published was told, once and in order.
async function counted() {
  await until((count) => told.got.length >= count, published);
  assert.deepEqual(await page.evaluate(() => told.got), Array.from({ length: published }, (_, i) => String(i + 1)));
}
const by = (transport, timeout) => until((transport) => line.state === "open" && line.transport === transport, transport, timeout);
// So long that the waits start over.
const lasts = () => new Promise((resolve) => setTimeout(resolve, 10_500));
const gaps = () => page.evaluate(() => told.gaps);

let steps = 0;
async function step(promise, body) {
  const began = Date.now();
  await body();
  steps += 1;
  console.log(`ok ${steps} ${promise} (${Date.now() - began} ms)`);
}

let failed = false;
try {
  page = await browser.newPage();
  await page.goto(`${url}/place`);
  await page.evaluate(async () => {
    const { Tautline } = await import("/place.js");
    globalThis.told = { got: [], gaps: [], states: [] };
    globalThis.line = new Tautline("/", { topics: ["counted"], probe: 4_000 });
    line.addEventListener("event", ({ detail }) => told.got.push(detail.data));
    line.addEventListener("gap", ({ detail }) => told.gaps.push(...detail.topics));
    line.addEventListener("state", ({ detail }) => told.states.push(`${detail.state} ${detail.transport} ${detail.reason ?? ""}`));
  });

  await step("with nothing in the way it is a WebSocket", async () => {
    await by("websocket");
    await publish(50);
    await counted();
  });

  await step("a cut loses nothing of what is published meanwhile, and what the page publishes comes once", async () => {
    await page.evaluate(() => line.cut());
    await publish(50);
    await by("websocket");
    await counted();
    const mine = page.evaluate((data) => {
      const answer = line.publish("counted", data);
      line.cut();
      return answer;
    }, String((published += 1)));
    assert.match(await mine, /^\d+-\d+-[0-9a-f]{8}$/);
    await counted();
  });

  await step("a middlebox that cuts WebSockets behind the 101: three of these, then the event stream", async () => {
    await lasts();
    proxy.becomes("no sockets");
    await publish(50);
    await by("sse", 60_000);
    await publish(20);
    await counted();
    await lasts();
    assert.ok(proxy.refused.ws >= 3);
  });

  await step("event streams blocked as well: polls", async () => {
    proxy.becomes("polls only");
    await publish(50);
    await by("poll", 90_000);
    await publish(20);
    await counted();
    assert.ok(proxy.refused.events >= 3);
    const id = await page.evaluate((data) => line.publish("counted", data), String((published += 1)));
    assert.match(id, /^\d+-\d+-[0-9a-f]{8}$/);
    await counted();
    await lasts();
  });

  await step("everything blocked for a while: nothing is lost, nor what the page publishes meanwhile", async () => {
    proxy.becomes("nothing");
    await publish(50);
    // What the page publishes meanwhile waits for a connection.
    const mine = page.evaluate((data) => line.publish("counted", data), String((published += 1)));
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    await until(() => line.state !== "open");
    proxy.becomes("pass");
    await until(() => line.state === "open", null, 90_000);
    assert.match(await mine, /^\d+-\d+-[0-9a-f]{8}$/);
    await publish(20);
    await counted();
    assert.ok(proxy.refused.all >= 1);
    assert.deepEqual(await gaps(), []);
  });

  await step("with nothing in the way any more it climbs back to the WebSocket", async () => {
    await by("websocket", 400_000);
    await publish(20);
    await counted();
  });

  await step("a restart of the server is told as a gap, and what is published from then on is counted on", async () => {
    await server.stop();
    await until(() => line.state !== "open");
    server = await start(server.port);
    await publish(20);
    await until(() => line.state === "open", null, 90_000);
    await publish(20);
    await counted();
    assert.deepEqual(await gaps(), [{ topic: "counted", reason: "unknown" }]);
    assert.ok(!(await page.evaluate(() => told.states)).some((state) => state.startsWith("closed")));
  });
  await step("what a server took with it is told as a gap, and nothing else is missing", async () => {
    proxy.becomes("nothing");
    await until(() => line.state !== "open");
    const before = published;
    // The page never sees these, as the log ends with the server; what follows comes from the log that is new.
    await publish(10);
    await server.stop();
    server = await start(server.port);
    await publish(20);
    proxy.becomes("pass");
    await until(() => line.state === "open", null, 90_000);
    await publish(20);
    const expected = Array.from({ length: published }, (_, i) => String(i + 1)).filter((n) => n <= before || n > before + 10);
    await until((count) => told.got.length >= count, expected.length);
    assert.deepEqual(await page.evaluate(() => told.got), expected);
    assert.deepEqual(await gaps(), Array(2).fill({ topic: "counted", reason: "unknown" }));
    assert.ok(!(await page.evaluate(() => told.states)).some((state) => state.startsWith("closed")));
  });
  console.log(`${steps} steps`);
} catch (error) {
  failed = true;
  console.error("not ok", error);
  console.error(await page?.evaluate(() => JSON.stringify(told.states.slice(-30), null, 1)).catch(() => ""));
} finally {
  await browser.close();
  await server.stop();
  rmSync(profile, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
