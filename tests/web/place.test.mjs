// Cursors, gaps, topics and publications.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { asked, at, begin, block, end, event, fields, line, pass, position, session, settle, socket, up, world } from "./world.mjs";

beforeEach(begin);
afterEach(end);

const topics = (url) => url.searchParams.getAll("topic");
const subscribed = (topic, n) => block({ event: "tautline.subscribed", topic, data: at(n) });
async function again(code = 1001) {
  socket().end(code);
  await pass(31_000);
  return socket().url;
}

test("b2 every connection goes on from the cursor, whatever the transport; what is not above it is dropped", async () => {
  const one = await line();
  assert.equal(socket().url.href, "ws://hub/base/ws?topic=a");
  assert.equal(socket().protocol, "tautline");
  await up(1, event(1));
  socket().say(event(2), event(2), event(1), position(5), event(4), event(6), position(3));
  assert.deepEqual(one.data(), ["e1", "e2", "e6"]);
  assert.equal(one.cursor, at(6));
  const url = await again();
  assert.equal(url.searchParams.get("lastId"), at(6));
  await up(8, event(6), event(7), event(8));
  assert.deepEqual(one.data(), ["e1", "e2", "e6", "e7", "e8"]);
  for (let i = 0; i < 4; i += 1) await again(1006);
  assert.equal(asked("events").at(-1).url.searchParams.get("lastId"), at(8));
  assert.equal(asked("events").at(-1).headers["Tautline-Session"], "S1");
});

test("an option gives the cursor to start with", async () => {
  await line({ cursor: "0" });
  assert.equal(socket().url.searchParams.get("lastId"), "0");
  await up(3, event(1), event(3));
});

test("an event without an id of its own is told, also behind one with an id, and moves nothing", async () => {
  const one = await line({ transports: ["sse"] });
  asked("events").at(-1).answer().say(session, position(4), event(5), block({ topic: "a", data: "typing" }), block({ topic: "a", data: "typing" }));
  await settle();
  assert.deepEqual(one.data(), ["e5", "typing", "typing"]);
  assert.equal(one.told.event[1].id, "");
  assert.equal(one.cursor, at(5));
});

test("a gap is told with its topics and reasons", async () => {
  const one = await line({ topics: ["a", "b"], cursor: at(1) });
  await up(9, block({ event: "tautline.gap", data: "a expired\nb expired" }), event(8));
  assert.deepEqual(one.told.gap, [{ topics: [{ topic: "a", reason: "expired" }, { topic: "b", reason: "expired" }] }]);
  assert.deepEqual(one.data(), ["e8"]);
});

test("another log replaces the cursor; where it was ahead of its own log it goes back", async () => {
  const one = await line({ cursor: at(90) });
  await up(0, block({ event: "tautline.gap", data: "a unknown" }), block({ id: "1-0-bb", topic: "a", data: "new" }), block({ id: "1-1-bb" }));
  assert.equal(one.cursor, at(0));
  const other = await line({ cursor: at(90) });
  await up(5, block({ event: "tautline.gap", data: "a ahead" }), event(4));
  assert.deepEqual(other.data(), ["e4"]);
  assert.equal(other.cursor, at(5));
});

test("a topic added with an older cursor has its own until it has caught up, also over a loss", async () => {
  const one = await line();
  await up(10);
  one.subscribe("b", at(3));
  await settle();
  assert.deepEqual(socket().sent, [`event: tautline.subscribe\ntopic: b\ndata: ${at(3)}\n\n`]);
  socket().say(event(4, "b4", "b"), event(11, "a11"), event(4, "b4", "b"), event(5, "b5", "b"), position(12));
  assert.deepEqual(one.data(), ["b4", "a11", "b5"]);
  assert.equal(one.cursor, at(12));
  const url = await again();
  assert.deepEqual(topics(url), ["a", `b@${at(5)}`]);
  assert.equal(url.searchParams.get("lastId"), at(12));
  // The position block of the new attach is behind all of it.
  await up(14, event(5, "b5", "b"), event(6, "b6", "b"), event(13, "a13"));
  assert.deepEqual(one.data(), ["b4", "a11", "b5", "b6", "a13"]);
  assert.deepEqual(topics(await again()), ["a", "b"]);
});

test("tautline.subscribed ends the topic's own cursor, but what it brought beyond the line's is not told again", async () => {
  const one = await line();
  await up(10);
  one.subscribe("b", at(3));
  await settle();
  socket().say(event(4, "b4", "b"), event(20, "b20", "b"), subscribed("b", 20));
  assert.deepEqual(one.told.subscribed, [{ topic: "b", cursor: at(20) }]);
  assert.equal(one.cursor, at(10));
  const url = await again();
  assert.deepEqual(topics(url), ["a", `b@${at(20)}`]);
  await up(21, event(15, "a15"), event(20, "b20", "b"), event(21, "b21", "b"));
  assert.deepEqual(one.data(), ["b4", "b20", "a15", "b21"]);
  assert.equal(one.cursor, at(21));
  assert.deepEqual(topics(await again()), ["a", "b"]);
});

test("by event stream and poll a change of topics connects anew, once, with the own cursor", async () => {
  for (const transport of ["sse", "poll"]) {
    const path = transport === "sse" ? "events" : "poll";
    const one = await line({ transports: [transport] });
    if (transport === "sse") asked(path).at(-1).answer().say(session, position(10));
    else asked(path).at(-1).answer(200, { "Tautline-Session": "S2" }, position(10));
    await settle();
    const before = asked(path).length;
    one.subscribe("b", at(3));
    one.subscribe("c");
    one.unsubscribe("a");
    await settle();
    assert.equal(asked(path).length, before + 1);
    assert.ok(asked(path).at(-2).aborted);
    assert.deepEqual(topics(asked(path).at(-1).url), [`b@${at(3)}`, "c"]);
    assert.equal(one.transport, transport);
    one.close();
  }
});

test("by poll an own cursor lasts while there is more", async () => {
  const one = await line({ transports: ["poll"] });
  asked("poll").at(-1).answer(200, {}, position(10));
  await settle();
  one.subscribe("b", at(3));
  await settle();
  asked("poll").at(-1).answer(200, { "Tautline-More": "1" }, event(4, "b4", "b") + position(4));
  await settle();
  assert.deepEqual(topics(asked("poll").at(-1).url), ["a", `b@${at(4)}`]);
  assert.equal(asked("poll").at(-1).url.searchParams.get("lastId"), at(10));
  asked("poll").at(-1).answer(200, {}, event(5, "b5", "b") + event(11, "a11") + position(12));
  await settle();
  assert.deepEqual(topics(asked("poll").at(-1).url), ["a", "b"]);
  assert.deepEqual(one.data(), ["b4", "b5", "a11"]);
});

test("a topic that changed while there was no connection is in the next one; the last cannot be left", async () => {
  const one = await line();
  one.subscribe("b");
  await up(1);
  assert.deepEqual(socket().sent, ["event: tautline.subscribe\ntopic: b\n\n"]);
  one.unsubscribe("a");
  await settle();
  assert.equal(socket().sent[1], "event: tautline.unsubscribe\ntopic: a\ndata: \n\n");
  assert.throws(() => one.unsubscribe("b"), /last topic/);
  assert.deepEqual(topics(await again()), ["b"]);
});

test("a topic that is refused or revoked is not asked for again; without any the line is closed", async () => {
  const one = await line();
  await up(1);
  one.subscribe("b");
  one.subscribe("c");
  await settle();
  socket().say(block({ event: "tautline.error", topic: "b", data: "403 subscribe\nnot for you" }), block({ event: "tautline.unsubscribed", topic: "c", data: "revoked" }));
  assert.deepEqual(one.told.error, [{ status: 403, command: "subscribe", key: "", topic: "b", message: "not for you", after: undefined }]);
  assert.deepEqual(one.topics, ["a"]);
  assert.deepEqual(topics(await again()), ["a"]);
  await up(1);
  socket().say(block({ event: "tautline.unsubscribed", topic: "a", data: "revoked" }));
  assert.equal(one.state, "closed");
});

test("a subscription that is one too many just now is asked for later", async () => {
  const one = await line();
  await up(1);
  one.subscribe("b");
  await settle();
  socket().say(block({ event: "tautline.error", topic: "b", data: "429 subscribe\ntoo many\nafter 2000" }));
  await pass(1_999);
  assert.equal(socket().sent.length, 1);
  await pass(1_000);
  assert.equal(socket().sent.length, 2);
});

test("presence is told: who is here, who joins, who leaves", async () => {
  const one = await line();
  await up(1);
  for (const data of ["here 2\nAda\nBen Miller", "join Cleo de M", "leave Ada", "here 0"]) socket().say(block({ event: "tautline.presence", topic: "a", data }));
  assert.deepEqual(one.told.presence, [
    { topic: "a", change: "here", users: ["Ada", "Ben Miller"], count: 2 },
    { topic: "a", change: "join", users: ["Cleo de M"], count: undefined },
    { topic: "a", change: "leave", users: ["Ada"], count: undefined },
    { topic: "a", change: "here", users: [], count: 0 },
  ]);
});

test("events of the protocol's own that are not known, binary messages and blocks behind the end are nothing", async () => {
  const one = await line();
  await up(1);
  const old = socket();
  old.say(block({ event: "tautline.tomorrow", data: "x" }));
  old.onmessage({ data: new ArrayBuffer(4) });
  one.cut();
  old.say(event(5));
  assert.deepEqual(one.told.event, []);
});

test("a publication waits for its acknowledgement, and goes again with the same key on the next connection, in order", async () => {
  const one = await line();
  const [first, second] = [one.publish("a", "x\ny", { event: "t", to: "others", slot: "s" }), one.publish("a", "z", { key: "mine" })];
  assert.deepEqual(world.sockets[0].sent, []);
  await up(1);
  const [x, z] = socket().sent;
  const key = fields(x).id;
  assert.match(key, /^[0-9a-f]{16}\.1$/);
  assert.equal(x, `id: ${key}\ntopic: a\nevent: t\nto: others\nslot: s\ndata: x\ndata: y\n\n`);
  assert.equal(z, "id: mine\ntopic: a\ndata: z\n\n");
  socket().say(block({ event: "tautline.ack", topic: "a", data: `${key} ${at(2)}` }));
  assert.equal(await first, at(2));
  await again();
  await up(1);
  assert.deepEqual(socket().sent, [z]);
  socket().say(block({ event: "tautline.ack", topic: "a", data: `mine ${at(3)}` }));
  assert.equal(await second, at(3));
  await again();
  await up(1);
  assert.deepEqual(socket().sent, []);
});

test("by event stream publications go by POST, those that wait together, one request at a time; a failure sends them again", async () => {
  const one = await line({ transports: ["sse"] });
  const sent = ["1", "2"].map((data) => one.publish("a", data, { key: `k${data}` }));
  asked("events").at(-1).answer().say(session, position(1));
  await settle();
  sent.push(one.publish("a", "3", { key: "k3" }));
  assert.equal(asked("send").length, 1);
  const post = asked("send")[0];
  assert.deepEqual([post.method, post.headers["Tautline-Session"], post.body], ["POST", "S1", "id: k1\ntopic: a\ndata: 1\n\nid: k2\ntopic: a\ndata: 2\n\n"]);
  post.fail();
  await pass(2_000);
  assert.equal(asked("send").length, 2);
  const keys = asked("send")[1].body.match(/k\d/g);
  assert.deepEqual(keys, ["k1", "k2", "k3"]);
  asked("send")[1].answer(200, {}, keys.map((key, i) => block({ event: "tautline.ack", topic: "a", data: `${key} ${at(i)}` })).join(""));
  assert.deepEqual(await Promise.all(sent), [at(0), at(1), at(2)]);
  await pass(60_000);
  assert.equal(asked("send").length, 2);
});

test("one POST holds at most 64 Ki unless one publication is longer", async () => {
  const one = await line({ transports: ["sse"] });
  for (const size of [40_000, 20_000, 40_000, 100_000, 1]) one.publish("a", "x".repeat(size)).catch(() => {});
  asked("events").at(-1).answer().say(session, position(1));
  await settle();
  for (let i = 0; i < 4; i += 1) { asked("send").at(-1).answer(200, {}, ""); await settle(); }
  assert.deepEqual(asked("send").map(({ body }) => (body.match(/id: /g) ?? []).length), [2, 1, 1, 1]);
});

test("a refused publication rejects; one too many just now is sent again after the wait", async () => {
  const one = await line();
  await up(1);
  const refused = one.publish("a", "x", { key: "k1" });
  const later = one.publish("a", "y", { key: "k2" });
  socket().say(block({ event: "tautline.error", topic: "a", data: "413 publish k1\nlonger than 5" }), block({ event: "tautline.error", topic: "a", data: "429 publish k2\nmore than 100 a second\nafter 1000" }));
  await assert.rejects(refused, { message: "longer than 5", status: 413 });
  await pass(999);
  assert.equal(socket().sent.length, 2);
  await pass(1_001);
  assert.deepEqual(socket().sent.map((text) => fields(text).id), ["k1", "k2", "k2"]);
  socket().say(block({ event: "tautline.ack", topic: "a", data: `k2 ${at(7)}` }));
  assert.equal(await later, at(7));
  assert.equal(one.told.error.length, 2);
});

test("the queue is bounded in count and size, and its limit named; close rejects what is left", async () => {
  const one = await line({ queue: 2, queueSize: 1_000 });
  const kept = [one.publish("a", "1"), one.publish("a", "2")];
  await assert.rejects(one.publish("a", "3"), /more than 2/);
  one.close();
  for (const promise of kept) await assert.rejects(promise, /closed/);
  await assert.rejects(one.publish("a", "4"), /closed/);
  const other = await line({ queueSize: 100 });
  await assert.rejects(other.publish("a", "x".repeat(100)), /100/);
});

test("what is not kept goes at once or not at all, without a key", async () => {
  const one = await line();
  assert.equal(await one.publish("a", "lost", { keep: "no" }), "");
  await up(1);
  assert.equal(await one.publish("a", "typing", { keep: "no" }), "");
  assert.deepEqual(socket().sent, ["topic: a\nkeep: no\ndata: typing\n\n"]);
  socket().bufferedAmount = 1e6;
  await one.publish("a", "shed", { keep: "no" });
  assert.equal(socket().sent.length, 1);
});

test("fields that would break a block are refused", async () => {
  const one = await line();
  for (const [topic, options] of [["a b", {}], ["", {}], ["a".repeat(129), {}], ["a", { event: "x\ny" }], ["a", { event: "tautline.ack" }], ["a", { key: "a b" }], ["a", { key: "" }], ["a", { slot: "\0" }], ["a", { slot: "x\r" }]]) {
    await assert.rejects(one.publish(topic, "x", options), TypeError);
  }
  assert.throws(() => one.subscribe("\n"), TypeError);
});
