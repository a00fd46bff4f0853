// Clients behind proxies: see run. Each case has a proxy with a configuration of its own and one or two servers behind it; a publisher
// that goes past the proxy; and clients that must end on the transport that the case names, with each event once.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import http2 from "node:http2";
import { createRequire } from "node:module";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

// The documented proxy's certificate is made here.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
process.removeAllListeners("warning");
const root = resolve(import.meta.dirname, "../..");
if (!globalThis.WebSocket) {
  const Ws = createRequire(join(root, "tests/interop/package.json"))("ws");
  globalThis.WebSocket = class extends Ws {
    constructor(...args) {
      super(...args);
      // A browser's tells only of the close, to whoever listens.
      this.on("error", () => {});
    }
  };
}
const { Tautline } = await import(join(root, "examples/web/tautline.js"));

const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const BACKEND = join(target, "release/examples/proxy_backend");
// The Rust client's example; another one is named by FOLLOW.
const FOLLOW = process.env.FOLLOW ?? join(target, "release/examples/follow");
const LOGS = join(target, "proxy");
process.env.PATH += ":/usr/sbin";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

let quick = false;
let only = /(?:)/;
const options = process.argv.slice(2);
while (options.length) {
  const option = options.shift();
  if (option === "--quick") quick = true;
  else if (option === "--only" && options.length) only = new RegExp(options.shift());
  else console.error("tests/proxy/run [--quick] [--only PATTERN]") ?? process.exit(2);
}

// What was started is ended, whatever happens; nothing else is.
const children = new Set();
const folders = [];
process.on("exit", () => {
  // Not SIGKILL: nginx's workers end with their master only if it can tell them.
  children.forEach((child) => child.kill("SIGTERM"));
  folders.forEach((folder) => rmSync(folder, { recursive: true, force: true }));
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

// Root lends a proxy nobody's identity: it is to run without privileges.
const unprivileged = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};

/** Starts a program; its words go to `said`, line by line. */
function start(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  children.add(child);
  child.said = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      child.said.push(...lines);
    }).on("end", () => rest && child.said.push(rest));
  }
  // When all was read, too.
  child.over = new Promise((done) => child.once("close", (code) => (children.delete(child), done(code))));
  child.once("error", (error) => child.said.push(String(error)));
  child.stop = async (signal = "SIGTERM") => (child.kill(signal), await child.over);
  return child;
}
async function until(what, condition, ms = 10_000) {
  for (const end = Date.now() + ms; ; await sleep(20)) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
  }
}
async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}
const listens = (port) => new Promise((done) => {
  const socket = connect(port, "127.0.0.1", () => (socket.destroy(), done(true)));
  socket.on("error", () => done(false));
});

/** A server; `address` is where. */
async function backend(folder, { heartbeat, listen, more = [] } = {}) {
  const args = ["--workers", "1", ...(heartbeat ? ["--heartbeat", heartbeat] : []), ...(listen ? ["--listen", listen] : []), ...more].map(String);
  const child = start(BACKEND, args);
  const line = await until("a server", () => child.said.find((line) => line.startsWith("listening on ")));
  child.address = line.slice("listening on ".length);
  // Past the proxy.
  const [host, port] = child.address.split(":");
  const where = host === "unix" ? { socketPath: port } : { host, port };
  child.publish = (topic, data) => new Promise((done, failed) => {
    const sent = request({ ...where, method: "POST", path: `/publish?topic=${topic}`, agent: false }, (answer) => {
      answer.resume().on("end", () => (answer.statusCode === 200 ? done() : failed(new Error(`publishing: ${answer.statusCode}`))));
    });
    sent.on("error", failed).end(data);
  });
  return child;
}
function curl(...args) {
  const child = start("curl", args);
  return child.over.then((code) => ({ code, text: child.said.join("\n") }));
}

// Configurations.

/** The code block of docs/DEPLOYMENT.md behind the comment that names it. */
function documented(name) {
  const text = readFileSync(join(root, "docs/DEPLOYMENT.md"), "utf8");
  const block = text.split(`<!-- tests/proxy: ${name} -->`)[1]?.match(/```\w+\n([^]*?)```/)?.[1];
  if (!block) throw new Error(`docs/DEPLOYMENT.md has no block ${name}`);
  return block;
}
/** Replaces what is of a real machine; each must be there. */
function adapted(text, replacements) {
  for (const [from, to] of replacements) {
    if (!text.includes(from)) throw new Error(`${JSON.stringify(from)} is not in the documented configuration`);
    text = text.replaceAll(from, to);
  }
  return text;
}
const nginxFrame = (http) => `
daemon off; worker_processes 1; pid nginx.pid; error_log error.log notice;
events { worker_connections 512; }
http {
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  access_log access.log;
  ${http}
}`;
/** A server of nginx's with these lines in its one location. */
const location = (lines, more = "") => ({ port, addresses }) => nginxFrame(`
  upstream tautline { ${addresses.map((address) => `server ${address};`).join(" ")} }
  server { listen 127.0.0.1:${port}; ${more} location / { proxy_pass http://tautline; ${lines} } }`);
const UPGRADE = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";

const documentedNginx = ({ port, addresses, certificate, key }) => nginxFrame(adapted(documented("nginx"), [
  ["listen 443 ssl http2;", `listen 127.0.0.1:${port} ssl http2;`],
  ["listen [::]:443 ssl http2;", ""],
  ["server 127.0.0.1:8080;", `server ${addresses[0]};`],
  ["/etc/ssl/certs/example.com.pem", certificate],
  ["/etc/ssl/private/example.com.key", key],
  ["/var/log/nginx/tautline.log", "tautline.log"],
]));
const haproxyFrame = ({ port, addresses }, { client = "60s", server = "60s", tunnel = "60s" } = {}) => `
defaults
  mode http
  timeout connect 5s
  timeout client ${client}
  timeout server ${server}
  timeout tunnel ${tunnel}
listen web
  bind 127.0.0.1:${port}
  ${addresses.map((address, index) => `server s${index} ${address}`).join("\n  ")}
`;
const documentedHaproxy = ({ port, addresses, bundle }) => adapted(documented("haproxy"), [
  ["bind :443 ssl crt /etc/haproxy/example.com.pem alpn h2,http/1.1", `bind 127.0.0.1:${port} ssl crt ${bundle} alpn h2,http/1.1`],
  ["server one 127.0.0.1:8080", `server one ${addresses[0]}`],
  ["log /dev/log local0", "log stdout format raw local0"],
  ["maxconn 20000", "maxconn 200"],
]);

// Clients.

/** The browser's client, until it has all of `expected` and is open by `ends`. */
async function browserClient(base, topic, { ends, within, transports, probe = 3_000 }) {
  const seen = { events: [], gaps: 0, transport: "", open: false, lost: 0 };
  const line = new Tautline(base, { topics: [topic], cursor: "0", probe, ...(transports && { transports }) });
  line.addEventListener("event", ({ detail }) => seen.events.push(detail.data));
  line.addEventListener("gap", () => (seen.gaps += 1));
  line.addEventListener("state", ({ detail }) => {
    if (detail.state === "waiting") [seen.lost, seen.cause] = [seen.lost + 1, detail.reason];
    [seen.open, seen.transport] = [detail.state === "open", detail.transport];
  });
  seen.stop = () => line.close();
  seen.line = line;
  seen.ready = until(`the browser's client by ${ends}`, () => seen.open && seen.transport === ends, within).then(
    () => true, () => { throw new Error(`the browser's client ended ${seen.open ? "on" : "trying"} ${seen.transport} instead of ${ends}`); });
  // Looked at later.
  seen.ready.catch(() => {});
  return seen;
}
const RUST_NAMES = { websocket: "websocket", sse: "event stream", poll: "long poll" };
/** The Rust client's example. */
async function rustClient(base, topic, { ends, within }) {
  const child = start(FOLLOW, [base, topic]);
  const seen = {
    get events() { return child.said.filter((line) => line.startsWith(`${topic} `)).map((line) => line.split(": ")[1]); },
    get gaps() { return child.said.filter((line) => line.startsWith("-- gap")).length; },
    get lost() { return child.said.filter((line) => line.startsWith("-- lost")).length; },
    get cause() { return child.said.findLast((line) => line.startsWith("-- lost")); },
    get transport() { return child.said.filter((line) => line.startsWith("-- by ")).at(-1)?.slice(6); },
  };
  seen.stop = () => child.kill();
  seen.ready = until("follow", () => seen.transport === RUST_NAMES[ends], within).then(
    () => true, () => { throw new Error(`follow ended on ${seen.transport} instead of ${ends}: ${child.said.slice(-3).join(" | ")}`); });
  seen.ready.catch(() => {});
  return seen;
}

let topics = 0;
/** Clients follow a topic of their own while events are published, until each is on its transport and has all of them, once and in order. */
async function follow({ base, backends, ends, rust = true, within = 40_000, count = 40, pace = 50, quiet = 0, transports, probe }) {
  const topic = `prices.${(topics += 1)}`;
  const clients = [["browser", await browserClient(base, topic, { ends, within, transports, probe })]];
  if (rust && existsSync(FOLLOW) && !base.startsWith("https")) clients.push(["rust", await rustClient(base, topic, { ends, within: within + 30_000 })]);
  try {
    // follow begins with what is published from its first connection on, by whatever transport.
    await Promise.all(clients.map(([, seen]) => (seen.line ? true : until("follow's first connection", () => seen.transport, within))));
    const expected = Array.from({ length: count }, (_, number) => `e${number}`);
    for (const [number, data] of expected.entries()) {
      if (number === count - 5) {
        await Promise.all(clients.map(([, seen]) => seen.ready));
        const before = clients.map(([, seen]) => seen.lost);
        await sleep(quiet);
        if (quiet) clients.forEach(([name, seen], index) => check(`${name}: lost in silence (${seen.cause})`, seen.lost - before[index], 0));
      }
      await backends[0].publish(topic, data);
      await sleep(pace);
    }
    for (const [name, seen] of clients) {
      // A connection may be lost meanwhile, and the wait for the next one is up to 30 s.
      await until(`all events, ${name}`, () => seen.events.length >= count, 45_000).catch(() => {});
      await sleep(100);
      check(`${name}: events`, seen.events.join(), expected.join());
      check(`${name}: gaps`, seen.gaps, 0);
    }
    return clients.map(([name, seen]) => `${name}: ${ends}${seen.lost ? ` after ${seen.lost} lost` : ""}`).join(", ");
  } finally {
    clients.forEach(([, seen]) => seen.stop());
  }
}
function check(what, is, expected) {
  if (is !== expected) throw new Error(`${what}: ${JSON.stringify(is)} instead of ${JSON.stringify(expected)}`);
}

/** A raw WebSocket upgrade: the answer's head. */
const upgrade = (base, ...more) => curl("-siNk", "--http1.1", "-m", "1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
  "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-H", "Sec-WebSocket-Protocol: tautline", ...more, `${base}ws`);

/** Whether a proxy takes WebSockets over HTTP/2 (RFC 8441). */
function extendedConnect(base) {
  return new Promise((done, failed) => {
    const session = http2.connect(base, { rejectUnauthorized: false });
    session.on("error", failed).on("remoteSettings", ({ enableConnectProtocol }) => (session.close(), done(enableConnectProtocol === true)));
  });
}

// The cases.

const cases = [
  { name: "nginx: upgrade headers configured", config: location(UPGRADE), ends: "websocket" },
  { name: "nginx: nothing configured", config: location(""), ends: "sse",
    async raw({ base }) {
      // HTTP/1.0 and no Upgrade reach the server.
      check("upgrade", (await upgrade(base)).text.split(" ")[1], "400");
    } },
  { name: "nginx: HTTP/1.1 but no upgrade headers", config: location("proxy_http_version 1.1;"), ends: "sse",
    async raw({ base }) {
      check("upgrade", (await upgrade(base)).text.split(" ")[1], "426");
    } },
  { name: "nginx: buffering on, X-Accel-Buffering honoured, gzip for event streams", ends: "sse",
    config: location("proxy_buffering on; gzip on; gzip_proxied any; gzip_min_length 1; gzip_types text/event-stream application/json;"),
    async raw({ base, backends }) {
      const stream = curl("-siN", "--compressed", "-m", "2", `${base}events?topic=raw`);
      await sleep(300);
      await backends[0].publish("raw", "hello");
      const { text } = await stream;
      check("compressed", /^content-encoding: gzip/im.test(text), true);
      check("an event at once", /^data: hello/m.test(text), true);
    } },
  { name: "nginx: buffering on and X-Accel-Buffering ignored", config: location("proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"), ends: "poll", rust: !quick, within: 60_000,
    async raw({ base, backends }) {
      const stream = curl("-sN", "-m", "2", `${base}events?topic=raw`);
      await sleep(300);
      await backends[0].publish("raw", "hello");
      check("what comes of a stream", (await stream).text, "");
    } },
  { name: "nginx: X-Accel-Buffering ignored, but HTTP/1.1 and no gzip", config: location("proxy_http_version 1.1; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"), ends: "sse" },
  { name: "nginx: gzip holds event streams back where X-Accel-Buffering is ignored", ends: "poll", rust: false, within: 60_000,
    config: location("proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_proxied any; gzip_min_length 1; gzip_types text/event-stream;") },
  { name: "nginx: proxy_read_timeout above the heartbeat", config: location(`${UPGRADE} proxy_read_timeout 6s;`), heartbeat: 2_000, ends: "websocket", quiet: 13_000 },
  { name: "nginx: proxy_read_timeout above the heartbeat, event streams", config: location("proxy_read_timeout 6s;"), heartbeat: 2_000, ends: "sse", quiet: 13_000 },
  { name: "nginx: proxy_read_timeout below the heartbeat", config: location(`${UPGRADE} proxy_read_timeout 2s;`), heartbeat: 3_000, ends: "websocket", rust: false,
    // Nothing is lost, but each silence costs a connection.
    async raw({ base, backends }) {
      const seen = await browserClient(base, "silent", { ends: "websocket", within: 5_000 });
      await seen.ready;
      await sleep(5_000);
      await backends[0].publish("silent", "one");
      await until("the event", () => seen.events.length === 1, 20_000);
      check("cut at least once", seen.lost > 0, true);
      check("gaps", seen.gaps, 0);
      seen.stop();
    } },
  { name: "nginx: a poll longer than proxy_read_timeout", config: location("proxy_read_timeout 1s;"), ends: "sse", rust: false,
    async raw({ base }) {
      const present = (await curl("-s", `${base}poll?topic=raw`)).text.match(/"lastId":"([^"]*)"/)[1];
      check("status", (await curl("-s", "-o", "/dev/null", "-w", "%{http_code}", `${base}poll?topic=raw&lastId=${present}&timeout=3`)).text, "504");
    } },
  { name: "nginx: as documented", config: documentedNginx, tls: true, path: "live/", ends: "websocket", more: ["--trust", "127.0.0.1"],
    async raw(world) {
      const { base, backends, folder } = world;
      check("HTTP/2", (await curl("-sk", "-o", "/dev/null", "-w", "%{http_version}", `${base}poll?topic=raw`)).text, "2");
      check("what a client says of itself", (await curl("-sk", "-H", "X-Forwarded-For: 192.0.2.1", `${base}whoami`)).text, "127.0.0.1");
      check("a page of the listed origin", (await upgrade(base, "-H", `Origin: ${new URL(base).origin}`)).text.split(" ")[1], "101");
      check("another page", (await upgrade(base, "-H", "Origin: https://example.org")).text.split(" ")[1], "403");
      check("WebSockets over HTTP/2", await extendedConnect(base), false);
      const stream = curl("-skN", "-m", "2", `${base}events?topic=raw`);
      await sleep(300);
      await backends[0].publish("raw", "hello");
      check("an event at once", /^data: hello/m.test((await stream).text), true);
      await follow({ ...world, ends: "sse", transports: ["sse"] });
      const session = (await curl("-ski", `${base}poll?topic=raw`)).text.match(/tautline-session: (\S+)/i)[1];
      await curl("-sk", `${base}poll?topic=raw&session=${session}`);
      await sleep(200);
      const log = readFileSync(join(folder, "tautline.log"), "utf8");
      check("requests in the log", log.includes("/live/poll"), true);
      check("secrets in the log", log.includes("session=") || log.includes("topic="), false);
    } },
  { name: "nginx: two servers behind one name", config: location(UPGRADE), servers: 2,
    async raw({ base, backends }) {
      // A cursor of the one is of another log to the other: told, not passed over.
      const cursors = [];
      for (const one of backends) {
        await one.publish("raw", "kept");
        cursors.push((await curl("-s", `http://${one.address}/poll?topic=raw&lastId=0`)).text.match(/"lastId":"([^"]*)"/)[1]);
      }
      const told = (await curl("-s", `http://${backends[1].address}/poll?topic=raw&lastId=${cursors[0]}&timeout=0`)).text;
      check("a gap of the other's cursor", /tautline\.gap.*raw unknown/.test(told), true);
      let gaps = 0;
      for (let n = 0; n < 6; n += 1) gaps += /raw unknown/.test((await curl("-s", `${base}poll?topic=raw&lastId=${cursors[0]}&timeout=0`)).text);
      check("by turns", gaps, 3);
      // What one publishes is not the other's.
      const seen = await browserClient(base, "split", { ends: "websocket", within: 5_000 });
      await seen.ready;
      for (const one of backends) await one.publish("split", one.address);
      await sleep(500);
      check("events of one only", seen.events.length, 1);
      seen.stop();
    } },
  { name: "nginx: the server behind it restarts", config: location(UPGRADE),
    async raw({ base, backends, folder }) {
      const seen = await browserClient(base, "again", { ends: "websocket", within: 5_000 });
      await seen.ready;
      await backends[0].publish("again", "before");
      await until("the event", () => seen.events.length === 1);
      await backends[0].stop();
      await until("the end", () => !seen.open);
      backends[0] = await backend(folder, { listen: undefined, more: ["--listen", backends[0].address] });
      await backends[0].publish("again", "after");
      await until("back", () => seen.open && seen.events.length === 2, 20_000);
      check("events", seen.events.join(), "before,after");
      check("a gap of the new log", seen.gaps, 1);
      seen.stop();
    } },
  { name: "nginx: over a unix-domain socket", config: location(`${UPGRADE} proxy_set_header X-Forwarded-For $remote_addr;`), unix: true, ends: "websocket", more: ["--trust", "unix"],
    async raw({ base }) {
      check("the client's address", (await curl("-s", `${base}whoami`)).text, "127.0.0.1");
    } },
  { name: "nginx: limits of addresses count clients, not the proxy", config: location("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"), more: ["--trust", "127.0.0.1", "--per-address", "2"],
    async raw({ base }) {
      const status = (who) => curl("-sN", "-o", "/dev/null", "-w", "%{http_code}", "-m", "1", "-H", `X-Forwarded-For: ${who}`, `${base}events?topic=raw`).then(({ text }) => text);
      // Trusted is 127.0.0.1, which nginx appends for this very client: so what stands to the left of it counts.
      const of = (who, n) => Promise.all(Array.from({ length: n }, () => status(who)));
      const [one, other] = await Promise.all([of("192.0.2.1", 3), of("192.0.2.2", 2)]);
      check("three of one client", one.sort().join(), "200,200,429");
      check("two of another", other.join(), "200,200");
    } },
  { name: "haproxy: timeouts above the heartbeat", proxy: "haproxy", config: (world) => haproxyFrame(world, { client: "6s", server: "6s", tunnel: "6s" }), heartbeat: 2_000, ends: "websocket", quiet: 13_000 },
  { name: "haproxy: timeouts above the heartbeat, event streams", proxy: "haproxy", config: (world) => haproxyFrame(world, { client: "6s", server: "6s" }), heartbeat: 2_000, ends: "sse", quiet: 13_000, transports: ["sse", "poll"], rust: false },
  { name: "haproxy: timeout tunnel below the heartbeat", proxy: "haproxy", config: (world) => haproxyFrame(world, { tunnel: "2s" }), heartbeat: 3_000, ends: "websocket", rust: false,
    async raw({ base, backends }) {
      const seen = await browserClient(base, "silent", { ends: "websocket", within: 5_000 });
      await seen.ready;
      await sleep(4_000);
      await backends[0].publish("silent", "one");
      await until("the event", () => seen.events.length === 1, 20_000);
      check("cut at least once", seen.lost > 0, true);
      seen.stop();
    } },
  { name: "haproxy: as documented", proxy: "haproxy", config: documentedHaproxy, tls: true, path: "live/", ends: "websocket", more: ["--trust", "127.0.0.1"],
    async raw(world) {
      const { base, proxy } = world;
      check("HTTP/2", (await curl("-sk", "-o", "/dev/null", "-w", "%{http_version}", `${base}poll?topic=raw`)).text, "2");
      check("what a client says of itself", (await curl("-sk", "-H", "X-Forwarded-For: 192.0.2.1", `${base}whoami`)).text, "127.0.0.1");
      check("a page of the listed origin", (await upgrade(base, "-H", `Origin: ${new URL(base).origin}`)).text.split(" ")[1], "101");
      check("WebSockets over HTTP/2", await extendedConnect(base), true);
      await follow({ ...world, ends: "sse", transports: ["sse"] });
      await curl("-sk", `${base}poll?topic=raw&token=secret`);
      await until("the log", () => proxy.said.some((line) => line.includes("/poll")));
      check("secrets in the log", proxy.said.some((line) => line.includes("secret")), false);
    } },
  // With the real heartbeats.
  { name: "nginx: proxy_read_timeout 20s: event streams stay, their heartbeat is 15 s", slow: true, config: location("proxy_read_timeout 20s;"), ends: "sse", quiet: 45_000 },
  { name: "nginx: proxy_read_timeout 20s: WebSockets are cut, their heartbeat is 25 s", slow: true, config: location(`${UPGRADE} proxy_read_timeout 20s;`), ends: "websocket", rust: false,
    async raw({ base, backends }) {
      const seen = await browserClient(base, "silent", { ends: "websocket", within: 5_000 });
      await seen.ready;
      await until("a cut", () => seen.lost === 1, 22_000);
      await backends[0].publish("silent", "one");
      await until("the event", () => seen.events.length === 1);
      await sleep(22_000);
      check("it stays on what it has, and comes back each time", [seen.transport, seen.lost, seen.gaps].join(), "websocket,2,0");
      seen.stop();
    } },
  { name: "nginx: the default of 60 s is above all heartbeats", slow: true, config: location(UPGRADE), ends: "websocket", quiet: 65_000 },
  { name: "nginx: a poll of 55 s is below the default of 60 s", slow: true, config: location(""),
    async raw({ base }) {
      const present = (await curl("-s", `${base}poll?topic=raw`)).text.match(/"lastId":"([^"]*)"/)[1];
      check("status", (await curl("-s", "-o", "/dev/null", "-w", "%{http_code}", `${base}poll?topic=raw&lastId=${present}&timeout=55`)).text, "200");
    } },
];

async function run(one, certificates) {
  const folder = mkdtempSync(join(tmpdir(), "tautline-proxy-"));
  folders.push(folder);
  chmodSync(folder, 0o755);
  const backends = [];
  let proxy;
  try {
    const port = await freePort();
    const more = one.tls ? [...one.more, "--origin", `https://127.0.0.1:${port}`] : one.more;
    for (let n = 0; n < (one.servers ?? 1); n += 1) {
      const listen = one.unix && `unix:${folder}/hub.sock`;
      backends.push(await backend(folder, { heartbeat: one.heartbeat, listen, more }));
      if (one.unix) chmodSync(join(folder, "hub.sock"), 0o777);
    }
    const file = join(folder, "proxy.conf");
    writeFileSync(file, one.config({ port, addresses: backends.map(({ address }) => address), ...certificates }));
    if (unprivileged.uid) chownSync(folder, unprivileged.uid, unprivileged.gid);
    const [program, args] = one.proxy === "haproxy" ? ["haproxy", ["-db", "-f", file]] : ["nginx", ["-p", folder, "-c", file, "-e", "error.log"]];
    proxy = start(program, args, { cwd: folder, ...unprivileged });
    await until(`${program}`, async () => {
      if (proxy.exitCode !== null) throw new Error(proxy.said.slice(0, 5).join(" | "));
      return listens(port);
    });
    const world = { base: `${one.tls ? "https" : "http"}://127.0.0.1:${port}/${one.path ?? ""}`, backends, folder, proxy };
    const [, words] = await Promise.all([one.raw?.(world), one.ends && follow({ ...one, ...world })]);
    return words;
  } finally {
    await proxy?.stop();
    await Promise.all(backends.map((server) => server.stop("SIGKILL")));
    const name = one.name.replace(/[^a-z0-9]+/gi, "-");
    const log = join(folder, "error.log");
    writeFileSync(join(LOGS, `${name}.log`), `${proxy?.said.join("\n")}\n${existsSync(log) ? readFileSync(log, "utf8") : ""}`);
  }
}

mkdirSync(LOGS, { recursive: true });
const keys = mkdtempSync(join(tmpdir(), "tautline-proxy-keys-"));
folders.push(keys);
const certificates = { certificate: join(keys, "cert.pem"), key: join(keys, "key.pem"), bundle: join(keys, "bundle.pem") };
const made = spawnSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=example.com",
  "-keyout", certificates.key, "-out", certificates.certificate]);
if (made.status !== 0) throw new Error(String(made.stderr));
writeFileSync(certificates.bundle, readFileSync(certificates.certificate, "utf8") + readFileSync(certificates.key, "utf8"));
// A key of this run's own, for nobody's proxy to read.
for (const path of [keys, ...Object.values(certificates)]) chmodSync(path, 0o755);

const chosen = cases.filter((one) => only.test(one.name) && !(quick && one.slow));
// They wait more than they work.
const queue = [...chosen];
let failed = 0;
await Promise.all(Array.from({ length: 5 }, async () => {
  for (let one = queue.shift(); one; one = queue.shift()) {
    const began = Date.now();
    const outcome = await run(one, certificates).then((words) => ["ok", words], (error) => ((failed += 1), ["FAILED", error.message]));
    console.log(`${outcome[0].padEnd(6)} ${String(((Date.now() - began) / 1000).toFixed(1)).padStart(5)} s  ${one.name}${outcome[1] ? `  [${outcome[1]}]` : ""}`);
  }
}));
if (!existsSync(FOLLOW)) console.log("without the Rust client, which is not built");
console.log(`${chosen.length - failed} of ${chosen.length} cases`);
process.exit(chosen.length && !failed ? 0 : 1);
