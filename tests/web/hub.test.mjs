// The client against a hub over real connections, as far as node has the transports (a WebSocket from node 22 on).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tautline } from "../../examples/web/tautline.js";
import { Hub } from "./mock.mjs";

const until = async (holds, what) => {
  for (const end = Date.now() + 10_000; !holds(); await new Promise((resolve) => setTimeout(resolve, 5))) assert.ok(Date.now() < end, what);
};

for (const transport of ["websocket", "sse", "poll"]) {
  test(`${transport}: counted events come once each and in order through cuts, a change of topics and a restart, which is told as a gap`, { skip: transport === "websocket" && !("WebSocket" in globalThis) }, async () => {
    let hub = await new Hub({ history: 10_000 }).listen();
    const got = { a: [], b: [], own: [] };
    const gaps = [];
    const line = new Tautline(`http://127.0.0.1:${hub.port}/`, { topics: ["a"], cursor: "0", transports: [transport] });
    line.addEventListener("event", ({ detail }) => got[detail.topic].push(detail.data));
    line.addEventListener("gap", ({ detail }) => gaps.push(...detail.topics));
    const state = (wanted) => until(() => line.state === wanted, wanted);
    await state("open");
    for (let i = 0; i < 200; i += 1) hub.publish({ topic: "b", data: String(i) });
    for (let i = 0; i < 500; i += 1) {
      hub.publish({ topic: "a", data: String(i) });
      if (i === 100 || i === 200 || i === 210) line.cut(), line.retry();
      if (i === 300) line.subscribe("b", "0");
      if (i === 301) line.cut(), line.retry();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await until(() => got.a.length >= 500 && got.b.length >= 200, `${got.a.length} of a, ${got.b.length} of b`);
    assert.deepEqual(got.a, Array.from({ length: 500 }, (_, i) => String(i)));
    assert.deepEqual(got.b, Array.from({ length: 200 }, (_, i) => String(i)));
    assert.deepEqual(gaps, []);
    const positions = await Promise.all([1, 2, 3].map((n) => line.publish("a", `mine ${n}`)));
    assert.deepEqual(positions, [...positions].sort());
    await until(() => got.a.length === 503, "its own come back");
    await hub.stop();
    await state("waiting");
    const away = line.publish("a", "from away");
    hub = await new Hub().listen(hub.port);
    const id = await away;
    await until(() => got.a.includes("from away"), "published after the restart");
    assert.ok(id.endsWith(hub.log));
    assert.deepEqual(gaps.map(({ reason }) => reason), ["unknown", "unknown"]);
    assert.equal(got.a.length, 504);
    line.close();
    await hub.stop();
  });
}

test("more than a poll's part is polled part by part, and none is missing", async () => {
  const hub = await new Hub({ history: 10_000 }).listen();
  for (let i = 0; i < 1_050; i += 1) hub.publish({ topic: "default", data: String(i) });
  const got = [];
  const line = new Tautline(`http://127.0.0.1:${hub.port}`, { transports: ["poll"], cursor: "0", onevent: ({ detail }) => got.push(detail.data) });
  await until(() => got.length === 1_050, "all");
  assert.deepEqual(got, Array.from({ length: 1_050 }, (_, i) => String(i)));
  assert.equal(hub.requests.filter(({ path }) => path === "/poll").length, 12);
  line.close();
  await hub.stop();
});

test("where the platform has no WebSocket the event stream is first", async () => {
  const kept = globalThis.WebSocket;
  delete globalThis.WebSocket;
  const line = new Tautline("http://127.0.0.1:1/");
  assert.equal(line.transport, "sse");
  line.close();
  assert.throws(() => new Tautline("http://127.0.0.1:1/", { transports: ["websocket"] }), TypeError);
  if (kept) globalThis.WebSocket = kept;
});
