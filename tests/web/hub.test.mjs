// The client against a hub over real connections, as far as node has the transports (a WebSocket from node 22 on, in node 20 behind a flag).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tautline } from "../../examples/web/tautline.js";
import { Hub } from "./mock.mjs";

// Both end with the test, also where it fails: a line left alone connects for ever, and a hub listens as long.
function line(t, base, options) {
  const made = new Tautline(base, options);
  t.after(() => made.close());
  return made;
}
async function listen(t, options, port) {
  const hub = await new Hub(options).listen(port);
  t.after(() => hub.stop());
  return hub;
}
const until = async (holds, what) => {
  for (const end = Date.now() + 20_000; !holds(); await new Promise((resolve) => setTimeout(resolve, 5))) assert.ok(Date.now() < end, what);
};

for (const transport of ["websocket", "sse", "poll"]) {
  test(`${transport}: counted events come once each and in order through cuts, a change of topics and a restart, which is told as a gap`, { skip: transport === "websocket" && !("WebSocket" in globalThis) }, async (t) => {
    let hub = await listen(t, { history: 10_000 });
    const got = { a: [], b: [], own: [] };
    const gaps = [];
    const one = line(t, `http://127.0.0.1:${hub.port}/`, { topics: ["a"], cursor: "0", transports: [transport] });
    one.addEventListener("event", ({ detail }) => got[detail.topic].push(detail.data));
    one.addEventListener("gap", ({ detail }) => gaps.push(...detail.topics));
    const state = (wanted) => until(() => one.state === wanted, wanted);
    await state("open");
    for (let i = 0; i < 200; i += 1) hub.publish({ topic: "b", data: String(i) });
    for (let i = 0; i < 500; i += 1) {
      hub.publish({ topic: "a", data: String(i) });
      if (i === 100 || i === 200 || i === 210) one.cut(), one.retry();
      if (i === 300) one.subscribe("b", "0");
      if (i === 301) one.cut(), one.retry();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await until(() => got.a.length >= 500 && got.b.length >= 200, `${got.a.length} of a, ${got.b.length} of b`);
    assert.deepEqual(got.a, Array.from({ length: 500 }, (_, i) => String(i)));
    assert.deepEqual(got.b, Array.from({ length: 200 }, (_, i) => String(i)));
    assert.deepEqual(gaps, []);
    const positions = await Promise.all([1, 2, 3].map((n) => one.publish("a", `mine ${n}`)));
    assert.deepEqual(positions, [...positions].sort());
    await until(() => got.a.length === 503, "its own come back");
    await hub.stop();
    await state("waiting");
    const away = one.publish("a", "from away");
    hub = await listen(t, {}, hub.port);
    one.retry();
    const id = await away;
    await until(() => got.a.includes("from away"), "published after the restart");
    assert.ok(id.endsWith(hub.log));
    assert.deepEqual(gaps.map(({ reason }) => reason), ["unknown", "unknown"]);
    assert.equal(got.a.length, 504);
  });
}

test("more than a poll's part is polled part by part, and none is missing", async (t) => {
  const hub = await listen(t, { history: 10_000 });
  for (let i = 0; i < 1_050; i += 1) hub.publish({ topic: "default", data: String(i) });
  const got = [];
  const one = line(t, `http://127.0.0.1:${hub.port}`, { transports: ["poll"], cursor: "0" });
  one.addEventListener("event", ({ detail }) => got.push(detail.data));
  await until(() => got.length === 1_050, "all");
  assert.deepEqual(got, Array.from({ length: 1_050 }, (_, i) => String(i)));
  // Ten with a hundred, one with the rest, and the one that is held now.
  const polls = () => hub.requests.filter(({ path }) => path === "/poll").length;
  await until(() => polls() === 12, "the next poll");
});

for (const transport of ["websocket", "sse"]) {
  test(`${transport}: what came is acknowledged up to its last, and who is here is told`, { skip: transport === "websocket" && !("WebSocket" in globalThis) }, async (t) => {
    const hub = await listen(t);
    const one = line(t, `http://127.0.0.1:${hub.port}`, { transports: [transport], ack: true });
    const here = [];
    one.addEventListener("presence", ({ detail }) => here.push(detail));
    await until(() => one.state === "open", "open");
    assert.equal(hub.requests[0].query.ack, "1");
    let last;
    for (let i = 0; i < 120; i += 1) last = hub.publish({ topic: "default", data: String(i) });
    await until(() => hub.acks.at(-1) === last, "acknowledged");
    assert.ok(hub.acks.length <= 4, `${hub.acks.length} acknowledgements`);
    one.presence("default");
    await until(() => here.length === 1, "presence");
    assert.deepEqual(here, [{ topic: "default", change: "here", users: ["Ada"], count: 1 }]);
  });
}

test("where the platform has no WebSocket the event stream is first", (t) => {
  const kept = globalThis.WebSocket;
  delete globalThis.WebSocket;
  t.after(() => kept && (globalThis.WebSocket = kept));
  assert.equal(line(t, "http://127.0.0.1:1/").transport, "sse");
  assert.throws(() => new Tautline("http://127.0.0.1:1/", { transports: ["websocket"] }), TypeError);
});
