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
  assert.match(one.told.state.at(-1).reason, /no block for 10000 ms/);
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

// The present stream is kept from its watchdog for so long.
async function keep(stream, ms) {
  for (; ms > 0; ms -= 5_000) { stream.say(position(1)); await pass(Math.min(ms, 5_000)); }
}

test("x2 after a cool-down the line moves to the better transport, from its cursor, and nothing is told twice", async () => {
  const one = await line();
  await failSockets(3);
  const stream = await openStream(1, event(1));
  await keep(stream, 59_999);
  assert.equal(world.sockets.length, 3);
  assert.equal(one.state, "open");
  await pass(1);
  assert.equal(world.sockets.length, 4);
  assert.ok(stream.aborted);
  assert.equal(socket().url.searchParams.get("lastId"), "1000-1-aa");
  assert.equal(socket().url.searchParams.get("session"), "S1");
  await up(3, event(1), event(2), event(3));
  assert.deepEqual([one.state, one.transport], ["open", "websocket"]);
  assert.deepEqual(one.data(), ["e1", "e2", "e3"]);
});

test("x2 each better transport gets one try, and the last of them leads back to what worked", async () => {
  const one = await line();
  await failSockets(3);
  for (let i = 0; i < 3; i += 1) { asked("events").at(-1).fail(); await settle(); await pass(30_000); }
  assert.equal(one.transport, "poll");
  asked("poll").at(-1).answer(200, {}, event(1) + position(1));
  await settle();
  for (let i = 0; i < 4; i += 1) { await pass(14_999); asked("poll").at(-1).answer(200, {}, position(1)); await settle(); await pass(1); }
  await pass(5_000);
  const [sockets, streams] = [world.sockets.length, asked("events").length];
  assert.deepEqual([one.transport, sockets, streams], ["websocket", 4, 3]);
  socket().open().end();
  await pass(1_000);
  assert.equal(asked("events").length, 4);
  asked("events").at(-1).fail();
  await settle();
  await pass(1_000);
  assert.equal(one.transport, "poll");
  assert.equal(asked("poll").at(-1).url.searchParams.get("lastId"), "1000-1-aa");
  // There three are needed again.
  for (let i = 0; i < 2; i += 1) { asked("poll").at(-1).fail(); await settle(); await pass(31_000); }
  assert.equal(one.transport, "poll");
  assert.deepEqual([world.sockets.length, asked("events").length], [4, 4]);
});

test("x2 where the line waits when the cool-down ends, another begins when it is open again", async () => {
  const one = await line();
  await failSockets(3);
  await keep(await openStream(1, event(1)), 50_000);
  asked("events").at(-1).end();
  await pass(1_000);
  asked("events").at(-1).answer(503, { "Retry-After": "60" });
  await pass(61_500);
  assert.equal(world.sockets.length, 3);
  await keep(await openStream(1), 60_000);
  assert.equal(one.transport, "websocket");
  assert.equal(world.sockets.length, 4);
});

test("the cool-down doubles from one minute to ten, with jitter, while the trials fail", async () => {
  for (const random of [0, 0.999]) {
    world.random = random;
    const one = await line();
    await failSockets(3);
    for (const minutes of [1, 2, 4, 8, 10, 10]) {
      const before = world.sockets.length;
      const due = minutes * 60_000 * (0.75 + random / 2);
      const stream = await openStream(1);
      await keep(stream, due - 1_000);
      assert.deepEqual([one.state, world.sockets.length], ["open", before], `${minutes} min`);
      await keep(stream, 1_001);
      assert.equal(world.sockets.length, before + 1, `${minutes} min`);
      socket().end();
      await pass(1_000);
      assert.equal(one.transport, "sse");
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
  assert.equal(one.closed().length, 1);
});

test("Retry-After in seconds and as a date is waited for, with jitter on top; x6 it is held to an hour, and retry: is the base from then on, from 100 ms to 30 s", async () => {
  const one = await line({ transports: ["sse"] });
  const after = async (give) => { give(asked("events").at(-1)); await settle(); const wait = waits(one).at(-1); await pass(3_700_000); return wait; };
  assert.equal(await after((request) => request.answer(503, { "Retry-After": "7" })), 7_500);
  assert.equal(await after((request) => request.answer(429, { "Retry-After": "9999999999" })), 3_601_000);
  assert.equal(await after((request) => request.answer(200, {}, `retry: 0\n\n`)), 200);
  assert.equal(await after((request) => request.answer(200, {}, `retry: 1000000000000\n\n`)), 15_000);
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
  for (const code of [1008, 4000, 4001, 4003, 4499]) {
    const one = await line();
    socket().open().end(code, "no");
    await pass(600_000);
    assert.deepEqual(one.closed(), [{ reason: `closed with ${code}: no`, status: code }]);
    assert.equal(one.state, "closed");
  }
  for (const code of [1002, 1003, 1007, 1009]) {
    const one = await line({ transports: ["websocket", "sse"] });
    await up(0, event(1));
    socket().end(code);
    await settle();
    assert.deepEqual([one.state, one.transport], ["waiting", "sse"]);
    const last = await line({ transports: ["websocket"] });
    socket().open().end(code);
    await settle();
    assert.equal(last.closed()[0].status, code);
    one.close();
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
    assert.equal(one.closed()[0]?.status, status);
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
    assert.equal(one.closed()[0].status, status);
  }
  const one = await line({ transports: ["sse", "poll"] });
  for (let i = 0; i < 3; i += 1) { asked("events").at(-1).answer(200, { "Content-Type": "text/html" }, "<p>Log in"); await settle(); await pass(30_000); }
  assert.equal(one.transport, "poll");
});

test("a session that is refused, as the user is another by now, is left out once; refused without it the line is closed", async () => {
  for (const [transport, path] of [["sse", "events"], ["poll", "poll"]]) for (const status of [401, 403]) {
    const one = await line({ transports: [transport] });
    const last = () => asked(path).at(-1);
    const opens = async (token) => {
      last().answer(200, { "Tautline-Session": token }, transport === "poll" ? position(1) : undefined);
      if (transport === "sse") last().say(position(1));
      await settle();
      assert.equal(one.state, "open");
    };
    await opens("S1");
    for (const token of ["S2", "S3"]) {
      one.cut();
      await pass(31_000);
      assert.ok(last().headers["Tautline-Session"]);
      last().answer(status);
      await pass(31_000);
      assert.equal(last().headers["Tautline-Session"], undefined);
      await opens(token);
    }
    one.cut();
    await pass(31_000);
    assert.equal(last().headers["Tautline-Session"], "S3");
    last().answer(status);
    await pass(31_000);
    last().answer(status);
    await settle();
    assert.deepEqual(one.closed(), [{ reason: `answered with ${status}`, status }]);
  }
});

test("a POST that is refused for its session leads to a new one, and a second time at once to the end", async () => {
  const one = await line({ transports: ["sse"] });
  await openStream(1);
  one.publish("a", "x").catch(() => {});
  await settle();
  asked("send").at(-1).answer(403);
  await pass(31_000);
  assert.deepEqual([asked("events").length, asked("events").at(-1).headers["Tautline-Session"]], [2, undefined]);
  await openStream(1);
  assert.equal(asked("send").length, 2);
  asked("send").at(-1).answer(403);
  await settle();
  assert.equal(one.closed()[0].status, 403);
});

test("a socket that is closed with 4001 or 4003 before its attach is complete is tried once without the session, and not behind that", async () => {
  for (const code of [4001, 4003]) {
    const one = await line();
    await up(1);
    socket().end(1001);
    await pass(31_000);
    assert.equal(socket().url.searchParams.get("session"), "S1");
    socket().open().end(code);
    await pass(31_000);
    assert.equal(socket().url.searchParams.get("session"), null);
    await up(1);
    await pass(10_000);
    socket().end(code);
    await settle();
    assert.equal(one.closed()[0].status, code);
  }
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

test("retry() ends a wait at once, and does nothing elsewhere", async () => {
  const one = await line({ transports: ["sse"] });
  one.retry();
  assert.equal(asked("events").length, 1);
  asked("events").at(-1).answer(503, { "Retry-After": "60" });
  await settle();
  assert.equal(one.state, "waiting");
  one.retry();
  await settle();
  assert.equal(one.state, "connecting");
  await keep(await openStream(1), 100_000);
  assert.equal(asked("events").length, 2);
});

test("a token goes as the first message of a socket, and as Authorization of requests", async () => {
  await line({ token: async () => "secret" });
  socket().open();
  assert.deepEqual(socket().sent, ["event: tautline.token\ndata: secret\n\n"]);
  // The URL says so, for a server that admits nobody in particular, too.
  assert.equal(socket().url.searchParams.get("auth"), "message");
  for (const token of [undefined, "", () => undefined, async () => ""]) {
    await line({ token });
    socket().open();
    assert.deepEqual([socket().url.searchParams.get("auth"), socket().sent], [null, []]);
  }
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
  assert.equal(one.closed().length, 1);
  const early = await line();
  early.close();
  socket().open().say(session, event(1), position(1));
  await pass(600_000);
  assert.deepEqual([early.state, early.told.event], ["closed", []]);
});
