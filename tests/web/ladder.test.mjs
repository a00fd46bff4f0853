// Which transport, when again, and when not.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { asked, begin, block, end, event, line, pass, position, session, settle, socket, up, world } from "./world.mjs";

beforeEach(begin);
afterEach(end);

const waits = (one) => one.told.state.filter(({ state }) => state === "waiting").map(({ wait }) => wait);
// Every connection by socket ends as soon as it is there, without a message.
async function failSockets(count) {
  for (let i = 0; i < count; i += 1) {
    socket().open().end();
    await settle();
    await pass(30_000);
  }
}
async function openStream(n = 0, ...more) {
  const stream = asked("events").at(-1).answer().say(session, ...more, position(n));
  await settle();
  return stream;
}

test("x1 three sockets that open and die before they are of use fall to the event stream, and three streams to polls", async () => {
  const one = await line();
  assert.equal(one.transport, "websocket");
  await failSockets(3);
  assert.equal(world.sockets.length, 3);
  assert.equal(one.transport, "sse");
  for (let i = 1; i <= 3; i += 1) {
    assert.equal(asked("events").length, i);
    asked("events").at(-1).answer().say(session).end();
    await settle();
    await pass(30_000);
  }
  assert.equal(one.transport, "poll");
  asked("poll").at(-1).answer(200, {}, position(1));
  await settle();
  assert.equal(one.state, "open");
});

test("x1 a session block and a complete attach are no use yet: dead within 200 ms counts; an event or ten seconds do not", async () => {
  const one = await line();
  for (let i = 0; i < 3; i += 1) {
    await up(0);
    await pass(200);
    socket().end();
    await pass(30_000);
  }
  assert.equal(one.transport, "sse");
  const other = await line();
  for (let i = 1; i < 8; i += 1) {
    await up(i, i % 2 ? event(i) : "");
    if (i % 2 === 0) await pass(10_000);
    socket().end();
    await pass(30_000);
  }
  assert.equal(other.transport, "websocket");
});

test("a stream whose first block does not come within the probe (a buffering proxy) is a failure", async () => {
  const one = await line({ transports: ["sse", "poll"], probe: 4_000 });
  for (let i = 0; i < 3; i += 1) {
    asked("events").at(-1).answer().say(": only a comment\n");
    await settle();
    await pass(3_999);
    assert.equal(one.state, "connecting");
    await pass(1);
    assert.ok(asked("events").at(-1).aborted);
    assert.equal(one.state, "waiting");
    await pass(30_000);
  }
  assert.equal(one.transport, "poll");
});

test("a socket that never opens ends with the probe, too", async () => {
  const one = await line();
  await pass(10_000);
  assert.ok(world.sockets[0].closed);
  assert.match(one.told.state.at(-1).reason, /nothing was heard for 10000 ms/);
});

test("behind the last transport comes the first again", async () => {
  const one = await line({ transports: ["websocket", "poll"] });
  await failSockets(3);
  for (let i = 0; i < 3; i += 1) {
    asked("poll").at(-1).fail();
    await settle();
    await pass(30_000);
  }
  assert.equal(one.transport, "websocket");
  assert.equal(world.sockets.length, 4);
});

test("x2 after a cool-down the better transport is tried beside the present one, and takes over when it is live; nothing is told twice", async () => {
  const one = await line();
  await failSockets(3);
  const stream = await openStream(1, event(1));
  await pass(10_000);
  for (let i = 0; i < 5; i += 1) { stream.say(position(1)); await pass(9_999); }
  assert.equal(world.sockets.length, 3);
  await pass(5);
  const trial = world.sockets.at(-1);
  assert.equal(world.sockets.length, 4);
  assert.equal(trial.url.searchParams.get("lastId"), "1000-1-aa");
  assert.equal(trial.url.searchParams.get("session"), "S1");
  stream.say(event(2), block({ topic: "a", data: "ephemeral" }));
  await settle();
  trial.open().say(session, block({ topic: "a", data: "ephemeral" }), event(2), event(3));
  await settle();
  assert.ok(!stream.aborted);
  assert.equal(one.transport, "sse");
  trial.say(position(3));
  await settle();
  assert.ok(stream.aborted);
  assert.equal(one.transport, "websocket");
  assert.deepEqual(one.data(), ["e1", "e2", "ephemeral", "e3"]);
});

test("x2 where the line waits when the cool-down ends, the next try is by the better transport, and one failure falls back", async () => {
  const one = await line();
  await failSockets(3);
  await openStream(1, event(1));
  for (let i = 0; i < 5; i += 1) { asked("events").at(-1).say(position(1)); await pass(10_000); }
  asked("events").at(-1).end();
  await pass(1_000);
  asked("events").at(-1).answer(503, { "Retry-After": "60" });
  await pass(61_500);
  assert.equal(one.transport, "websocket");
  assert.equal(world.sockets.length, 4);
  socket().end();
  await pass(31_000);
  assert.equal(one.transport, "sse");
  assert.equal(world.sockets.length, 4);
});

test("the cool-down doubles from one minute to ten, with jitter, while the trials fail", async () => {
  for (const random of [0, 0.999]) {
    world.random = random;
    const one = await line();
    await failSockets(3);
    const stream = await openStream(1, event(1));
    for (const minutes of [1, 2, 4, 8, 10, 10]) {
      const before = world.sockets.length;
      const due = minutes * 60_000 * (0.75 + random / 2);
      let passed = 0;
      for (; passed + 5_000 < due - 5_000; passed += 5_000) { stream.say(position(1)); await pass(5_000); }
      assert.equal(world.sockets.length, before, `${minutes} min`);
      for (; passed < due + 5_000; passed += 5_000) { stream.say(position(1)); await pass(5_000); }
      assert.equal(world.sockets.length, before + 1, `${minutes} min`);
      // The present line is not touched; the trial ends by itself.
      socket().end();
      stream.say(position(1));
      await settle();
      assert.equal(one.state, "open");
      // What has passed since the trial began belongs to the next cool-down.
      world.random = random;
    }
    one.close();
  }
});

test("waits fill 1, 2, 4, 8, 16, 30 s evenly, and are never under 100 ms", async () => {
  world.random = 0.9999999;
  const one = await line({ transports: ["sse"] });
  for (let i = 0; i < 8; i += 1) { asked("events").at(-1).fail(); await settle(); await pass(31_000); }
  assert.deepEqual(waits(one).map((wait) => Math.round(wait / 1000)), [1, 2, 4, 8, 16, 30, 30, 30]);
  world.random = 0;
  asked("events").at(-1).fail();
  await settle();
  assert.equal(waits(one).at(-1), 100);
});

test("the schedule starts over after ten seconds up, not before", async () => {
  world.random = 0.9999999;
  const one = await line({ transports: ["sse"] });
  for (const up of [0, 9_999, 10_000]) {
    await openStream(0);
    // The heartbeat is ten seconds: nothing has to be said meanwhile.
    await pass(up);
    asked("events").at(-1).end();
    await settle();
    await pass(31_000);
  }
  assert.deepEqual(waits(one).map((wait) => Math.round(wait / 1000)), [1, 2, 1]);
});

test("attempts are limited where asked", async () => {
  const one = await line({ transports: ["sse"], attempts: 2 });
  for (let i = 0; i < 3; i += 1) { asked("events").at(-1).fail(); await settle(); await pass(31_000); }
  assert.equal(asked("events").length, 3);
  assert.equal(one.told.closed.length, 1);
});

test("Retry-After in seconds and as a date is waited for, with jitter on top; x6 it is held to an hour, and retry: to 100 ms", async () => {
  const one = await line({ transports: ["sse"] });
  const after = async (give) => { give(asked("events").at(-1)); await settle(); const wait = waits(one).at(-1); await pass(3_700_000); return wait; };
  assert.equal(await after((request) => request.answer(503, { "Retry-After": "7" })), 7_500);
  assert.equal(await after((request) => request.answer(429, { "Retry-After": "9999999999" })), 3_601_000);
  assert.equal(await after((request) => request.answer(200, {}, `retry: 0\n\n`)), 2_100);
  assert.equal(await after((request) => request.answer(200, {}, `retry: 1000000000000\n\n`)), 3_604_000);
  const date = new Date(Math.ceil(Date.now() / 1000) * 1000 + 60_000);
  const wait = await after((request) => request.answer(503, { "Retry-After": date.toUTCString() }));
  assert.ok(wait > 60_000 && wait < 80_000, wait);
});

test("x5 closes 1012 and 1013 come back at a random time within the window of their reason, and do not count against the transport", async () => {
  const one = await line();
  for (const [code, reason, random, wait] of [[1012, "restart retry=20000", 0.25, 5_000], [1013, "retry=5000", 0.9, 4_500], [1012, "retry=0", 0.9, 100], [1012, "retry=99999999999", 0.5, 1_800_000]]) {
    await up(0);
    world.random = random;
    socket().end(code, reason);
    await settle();
    assert.equal(Math.round(waits(one).at(-1)), wait === 100 ? 100 : wait, reason);
    await pass(3_600_000);
  }
  assert.equal(one.transport, "websocket");
  // Elsewhere it is a word like any other.
  await up(0);
  socket().end(1011, "retry=5");
  await settle();
  assert.notEqual(Math.round(waits(one).at(-1)), 100);
});

test("x4 closes that are final stop, others come back", async () => {
  for (const code of [1002, 1003, 1007, 1008, 1009, 4000, 4001, 4003, 4499]) {
    const one = await line();
    socket().open().end(code, "no");
    await pass(600_000);
    assert.deepEqual(one.told.closed, [{ reason: `closed with ${code}: no`, status: 0, code }]);
    assert.equal(one.state, "closed");
  }
  for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 3000, 4500, 4999]) {
    const one = await line();
    await up(0);
    socket().end(code);
    await settle();
    assert.equal(one.state, "waiting", String(code));
    one.close();
  }
});

test("r11 401, 403 and 204 stop; 408, 429 and 5xx come back; a wrong type or a refusal of this request falls", async () => {
  for (const status of [401, 403, 204]) {
    const one = await line({ transports: ["sse", "poll"] });
    asked("events").at(-1).answer(status);
    await pass(600_000);
    assert.equal(one.told.closed[0]?.status, status);
  }
  for (const status of [408, 429, 500, 502, 503, 504]) {
    const one = await line({ transports: ["sse", "poll"] });
    asked("events").at(-1).answer(status);
    await settle();
    assert.deepEqual([one.state, one.transport], ["waiting", "sse"]);
    one.close();
  }
  for (const status of [400, 404, 405, 406, 413, 415, 421]) {
    const one = await line({ transports: ["sse", "poll"] });
    asked("events").at(-1).answer(status);
    await settle();
    assert.deepEqual([one.state, one.transport], ["waiting", "poll"]);
    await pass(1_000);
    asked("poll").at(-1).answer(status);
    await settle();
    assert.equal(one.told.closed[0].status, status);
  }
  const one = await line({ transports: ["sse", "poll"] });
  for (let i = 0; i < 3; i += 1) { asked("events").at(-1).answer(200, { "Content-Type": "text/html" }, "<p>Log in"); await settle(); await pass(30_000); }
  assert.equal(one.transport, "poll");
});

test("403 with a session is tried once more without it", async () => {
  const one = await line();
  await up(0);
  socket().end();
  await pass(30_000);
  assert.equal(socket().url.searchParams.get("session"), "S1");
  socket().open().end(4003);
  await pass(30_000);
  assert.equal(socket().url.searchParams.get("session"), null);
  assert.equal(one.state, "connecting");
  socket().open().end(4003);
  await settle();
  assert.equal(one.state, "closed");
});

test("r13 a socket and a stream without a block for two and a half heartbeats are dead; comments do not count", async () => {
  for (const transport of ["websocket", "sse"]) {
    const one = await line({ transports: [transport] });
    if (transport === "sse") await openStream(0); else await up(0);
    await pass(24_000);
    if (transport === "sse") { asked("events").at(-1).say(": alive\n\n"); await settle(); }
    await pass(999);
    assert.equal(one.state, "open");
    await pass(1);
    assert.equal(one.state, "waiting");
    one.close();
  }
});

test("a poll that outlives its timeout by ten seconds is dead", async () => {
  const one = await line({ transports: ["poll"] });
  asked("poll").at(-1).answer(200, {}, position(1));
  await settle();
  assert.equal(asked("poll").at(-1).url.searchParams.get("timeout"), "25");
  await pass(34_999);
  assert.equal(one.state, "open");
  await pass(1);
  assert.equal(one.state, "waiting");
});

test("polls follow one another at once where there is something, and not where they are answered empty at once", async () => {
  await line({ transports: ["poll"] });
  asked("poll").at(-1).answer(200, { "Tautline-More": "1" }, event(1) + position(1));
  await settle();
  asked("poll").at(-1).answer(200, {}, event(2) + position(2));
  await settle();
  assert.equal(asked("poll").length, 3);
  assert.equal(asked("poll").at(-1).url.searchParams.get("lastId"), "1000-2-aa");
  asked("poll").at(-1).answer(200, {}, position(2));
  await settle();
  assert.equal(asked("poll").length, 3);
  await pass(600);
  assert.equal(asked("poll").length, 4);
});

test("the browser's hint ends a wait at once, but not one that the server asked for; retry() ends either", async () => {
  const listeners = {};
  globalThis.addEventListener = (name, listener) => (listeners[name] = listener);
  globalThis.removeEventListener = (name) => delete listeners[name];
  try {
    const one = await line({ transports: ["sse"] });
    asked("events").at(-1).fail();
    await settle();
    listeners.online();
    assert.equal(one.state, "connecting");
    await settle();
    asked("events").at(-1).answer(503, { "Retry-After": "60" });
    await settle();
    listeners.online();
    assert.equal(one.state, "waiting");
    one.retry();
    assert.equal(one.state, "connecting");
    one.close();
    assert.deepEqual(listeners, {});
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

test("a token goes as the first message of a socket, and as Authorization of requests", async () => {
  await line({ token: async () => "secret" });
  socket().open();
  assert.deepEqual(socket().sent, ["event: tautline.token\ndata: secret\n\n"]);
  assert.ok(!String(socket().url).includes("secret"));
  await line({ transports: ["sse"], token: "secret" });
  assert.equal(asked("events").at(-1).headers.Authorization, "Bearer secret");
});

test("close() is final from any state, and cut() counts against nothing", async () => {
  const one = await line();
  for (let i = 0; i < 5; i += 1) { await up(0); one.cut(); await pass(30_000); }
  assert.equal(one.transport, "websocket");
  one.close();
  one.close();
  const { length } = world.sockets;
  await pass(600_000);
  assert.equal(world.sockets.length, length);
  assert.equal(one.told.closed.length, 1);
  const early = await line();
  early.close();
  socket().open().say(session, event(1), position(1));
  await pass(600_000);
  assert.deepEqual([early.state, early.told.event], ["closed", []]);
});
