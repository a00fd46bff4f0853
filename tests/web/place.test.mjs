// Cursors, gaps, topics and publications.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { asked, at, begin, block, end, event, line, pass, position, session, settle, socket, up, world } from "./world.mjs";

beforeEach(begin);
afterEach(end);

const topics = (url) => url.searchParams.getAll("topic");
const subscribed = (topic, n) => block({ event: "tautline.subscribed", topic, data: at(n) });
const published = (key, n) => block({ event: "tautline.ack", topic: "a", data: `${key} ${at(n)}` });
const keysOf = (text) => [...text.matchAll(/^id: (\S+)/gm)].map(([, key]) => key);
const acknowledged = (request) => request.answer(200, {}, keysOf(request.body).map((key, i) => published(key, i)).join(""));
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
  // The topics with cursors of their own follow the position block.
  await up(14, event(13, "a13"));
  socket().say(event(5, "b5", "b"), event(6, "b6", "b"));
  assert.deepEqual(topics(await again()), ["a", `b@${at(6)}`]);
  await up(14);
  socket().say(subscribed("b", 14), event(6, "b6", "b"), event(14, "a14"));
  assert.deepEqual(one.data(), ["b4", "a11", "b5", "a13", "b6"]);
  assert.deepEqual(topics(await again()), ["a", "b"]);
});

test("tautline.subscribed ends the topic's own cursor and moves the line's, but not back", async () => {
  const one = await line();
  await up(10);
  one.subscribe("b", at(3));
  await settle();
  socket().say(event(4, "b4", "b"), event(20, "b20", "b"));
  assert.equal(one.cursor, at(10));
  socket().say(subscribed("b", 20));
  assert.deepEqual(one.told.subscribed, [{ topic: "b", cursor: at(20) }]);
  assert.equal(one.cursor, at(20));
  socket().say(event(20, "b20", "b"), event(15, "a15"), event(21, "b21", "b"));
  one.subscribe("c", at(5));
  await settle();
  socket().say(event(30, "a30"), subscribed("c", 25));
  assert.equal(one.cursor, at(30));
  assert.deepEqual(one.data(), ["b4", "b20", "b21", "a30"]);
  assert.deepEqual(topics(await again()), ["a", "b", "c"]);
});

test("a gap of another log forgets the cursor of the topics that it names: their own, or the line's", async () => {
  const one = await line();
  await up(10);
  one.subscribe("b", at(3, "bb"));
  await settle();
  socket().say(block({ event: "tautline.gap", data: "b unknown" }), event(2, "b2", "b"), event(9, "a9"), event(11, "a11"));
  assert.deepEqual(one.data(), ["b2", "a11"]);
  assert.equal(one.cursor, at(11));
  const url = await again();
  assert.deepEqual([topics(url), url.searchParams.get("lastId")], [["a", `b@${at(2)}`], at(11)]);
  await up(4, block({ event: "tautline.gap", data: "a ahead" }));
  socket().say(event(1, "a1"), event(3, "b3", "b"));
  assert.deepEqual(one.data(), ["b2", "a11", "b3"]);
});

test("what comes of a topic that was left is not told, nor does it move the place of the same topic asked for again, until the hub has said that it is left", async () => {
  const one = await line({ topics: ["a", "b"] });
  await up(10);
  one.unsubscribe("b");
  one.subscribe("b", at(3));
  one.unsubscribe("b");
  socket().say(event(11, "late", "b"), block({ topic: "b", data: "typing" }), event(12, "a12"));
  one.subscribe("b", at(5));
  const left = block({ event: "tautline.unsubscribed", topic: "b", data: "asked" });
  // The first is left, the second has its answers and is left: what is behind that is of the third.
  socket().say(event(13, "late", "b"), left, block({ event: "tautline.gap", data: "b unknown" }), event(4, "old", "b"), subscribed("b", 13), event(14, "late", "b"), left);
  assert.deepEqual(one.data(), ["a12"]);
  assert.deepEqual([one.told.subscribed, one.told.unsubscribed.length], [[], 2]);
  socket().say(event(6, "b6", "b"), event(5, "b5", "b"), event(7, "b7", "b"), subscribed("b", 14), event(14, "b14", "b"), event(15, "b15", "b"));
  assert.deepEqual(one.data(), ["a12", "b6", "b7", "b15"]);
  assert.equal(one.cursor, at(15));
});

test("a connection that is lost before the hub has said that a topic is left is forgotten with it", async () => {
  const one = await line({ topics: ["a", "b"] });
  await up(10);
  one.unsubscribe("b");
  one.subscribe("b", at(3));
  socket().say(event(11, "late", "b"));
  const url = await again();
  assert.deepEqual([topics(url), url.searchParams.get("lastId")], [["a", `b@${at(3)}`], at(10)]);
  await up(12, event(4, "b4", "b"));
  assert.deepEqual(one.data(), ["b4"]);
});

test("where leaving a topic is too much just now another connection says which topics there are", async () => {
  const one = await line({ topics: ["a", "b"] });
  await up(10);
  one.unsubscribe("b");
  one.subscribe("b", at(3));
  socket().say(block({ event: "tautline.error", topic: "b", data: "429 unsubscribe\ntoo many commands\nafter 2000" }), subscribed("b", 10));
  assert.deepEqual([one.state, one.told.state.at(-1).wait, one.told.error.length], ["waiting", 2_500, 1]);
  await pass(2_500);
  assert.deepEqual(topics(socket().url), ["a", `b@${at(3)}`]);
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
  asked("poll").at(-1).answer(200, {}, event(11, "a11") + event(5, "b5", "b") + subscribed("b", 12) + position(12));
  await settle();
  assert.deepEqual(topics(asked("poll").at(-1).url), ["a", "b"]);
  assert.deepEqual(one.data(), ["b4", "a11", "b5"]);
});

test("a topic that changes before the attach is complete, or while the line waits, is in the next one; the last cannot be left", async () => {
  const one = await line();
  one.subscribe("b");
  await settle();
  assert.ok(world.sockets[0].closed);
  assert.deepEqual(topics(socket().url), ["a", "b"]);
  await up(1);
  one.unsubscribe("a");
  assert.deepEqual(socket().sent, ["event: tautline.unsubscribe\ntopic: a\n\n"]);
  assert.throws(() => one.unsubscribe("b"), /last topic/);
  one.cut();
  one.subscribe("c");
  await settle();
  assert.equal(one.state, "waiting");
  await pass(31_000);
  assert.deepEqual(topics(socket().url), ["b", "c"]);
});

test("a topic that is refused or revoked is not asked for again; without any the line is closed", async () => {
  const one = await line();
  await up(1);
  one.subscribe("b");
  one.subscribe("c");
  await settle();
  socket().say(block({ event: "tautline.error", topic: "b", data: "403 subscribe\nnot for you" }), block({ event: "tautline.unsubscribed", topic: "c", data: "revoked" }));
  assert.deepEqual(one.told.error, [{ status: 403, command: "subscribe", key: "", topic: "b", message: "not for you", after: 0 }]);
  assert.deepEqual(one.topics, ["a"]);
  assert.deepEqual(topics(await again()), ["a"]);
  await up(1);
  socket().say(block({ event: "tautline.unsubscribed", topic: "a", data: "revoked" }));
  assert.equal(one.state, "closed");
});

test("a subscription that is one too many just now is told, and asked for again after the wait, from the same place", async () => {
  const one = await line();
  await up(10);
  one.subscribe("b", at(3));
  one.subscribe("c");
  const [ofB, ofC] = socket().sent;
  const refused = (topic, ...more) => block({ event: "tautline.error", topic, data: ["429 subscribe", "too many commands", ...more].join("\n") });
  socket().say(refused("b", "after 2000"), refused("c"));
  assert.deepEqual(one.told.error[0], { status: 429, command: "subscribe", key: "", topic: "b", message: "too many commands", after: 2_000 });
  assert.deepEqual(one.topics, ["a", "b", "c"]);
  await pass(1_000);
  assert.deepEqual(socket().sent, [ofB, ofC]);
  await pass(1_000);
  assert.deepEqual(socket().sent, [ofB, ofC, ofC]);
  await pass(1_000);
  assert.deepEqual(socket().sent, [ofB, ofC, ofC, ofB]);
  // Neither one that was left meanwhile, nor by a connection that is over.
  socket().say(refused("b"), refused("c"));
  one.unsubscribe("b");
  const [old, sent] = [socket(), socket().sent.length];
  await again();
  assert.deepEqual(topics(socket().url), ["a", "c"]);
  await up(12);
  await pass(5_000);
  assert.deepEqual([old.sent.length, socket().sent], [sent, []]);
});

test("presence is told: who is here, who joins, who leaves", async () => {
  const one = await line();
  await up(1);
  one.presence("a");
  assert.deepEqual(socket().sent, ["event: tautline.presence\ntopic: a\n\n"]);
  for (const data of ["here 2\nAda\nBen Miller", "join Cleo de M", "leave Ada", "here 0"]) socket().say(block({ event: "tautline.presence", topic: "a", data }));
  assert.deepEqual(one.told.presence, [
    { topic: "a", change: "here", users: ["Ada", "Ben Miller"], count: 2 },
    { topic: "a", change: "join", users: ["Cleo de M"] },
    { topic: "a", change: "leave", users: ["Ada"] },
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
  const key = keysOf(socket().sent[0])[0];
  assert.match(key, /^\d+\.\d+\.1$/);
  const z = "id: mine\ntopic: a\ndata: z\n\n";
  assert.deepEqual(socket().sent, [`id: ${key}\ntopic: a\nevent: t\nto: others\nslot: s\ndata: x\ndata: y\n\n${z}`]);
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

test("by event stream publications go by POST, those that wait together, one request at a time; a failure ends the line, and the next sends them again", async () => {
  const one = await line({ transports: ["sse"] });
  const sent = ["1", "2"].map((data) => one.publish("a", data, { key: `k${data}` }));
  asked("events").at(-1).answer().say(session, position(1));
  await settle();
  sent.push(one.publish("a", "3", { key: "k3" }));
  assert.equal(asked("send").length, 1);
  const post = asked("send")[0];
  assert.deepEqual([post.method, post.headers["Tautline-Session"], post.body], ["POST", "S1", "id: k1\ntopic: a\ndata: 1\n\nid: k2\ntopic: a\ndata: 2\n\n"]);
  post.answer(503, { "Retry-After": "7" });
  await settle();
  assert.deepEqual([one.state, one.told.state.at(-1).wait], ["waiting", 7_500]);
  await pass(7_500);
  asked("events").at(-1).answer().say(session, position(1));
  await settle();
  assert.equal(asked("send").length, 2);
  const keys = asked("send")[1].body.match(/k\d/g);
  assert.deepEqual(keys, ["k1", "k2", "k3"]);
  asked("send")[1].answer(200, {}, keys.map((key, i) => block({ event: "tautline.ack", topic: "a", data: `${key} ${at(i)}` })).join(""));
  assert.deepEqual(await Promise.all(sent), [at(0), at(1), at(2)]);
  await pass(20_000);
  assert.equal(asked("send").length, 2);
});

test("what a POST was not answered for goes again, and what was too much just now with all that is behind it, in order, after one wait", async () => {
  const one = await line({ transports: ["sse"] });
  const sent = ["1", "2", "3", "4"].map((data) => one.publish("a", data, { key: `k${data}` }));
  asked("events").at(-1).answer().say(session, position(1));
  await settle();
  const late = block({ event: "tautline.error", topic: "a", data: "429 publish k2\nmore than 100 a second\nafter 3000" });
  asked("send")[0].answer(200, {}, published("k1", 2) + late);
  assert.equal(await sent[0], at(2));
  sent.push(one.publish("a", "5", { key: "k5" }));
  await pass(3_499);
  assert.equal(asked("send").length, 1);
  await pass(1);
  assert.deepEqual(keysOf(asked("send")[1].body), ["k2", "k3", "k4", "k5"]);
  // Answered, but not for all.
  asked("send")[1].answer(200, {}, published("k2", 3));
  await pass(1_499);
  sent.push(one.publish("a", "6", { key: "k6" }));
  await settle();
  assert.equal(asked("send").length, 2);
  await pass(1);
  assert.deepEqual(keysOf(asked("send")[2].body), ["k3", "k4", "k5", "k6"]);
  acknowledged(asked("send")[2]);
  await Promise.all(sent);
  assert.equal(one.state, "open");
});

test("of a POST that is refused as a whole only the bad publication is given up", async () => {
  for (const status of [400, 404, 413]) {
    world.requests = [];
    const one = await line({ transports: ["sse"] });
    asked("events").at(-1).answer().say(session, position(1));
    await settle();
    const sent = ["good", "bad", "better", "best"].map((key) => one.publish("a", "x", { key }).catch((fault) => fault.status));
    await settle();
    asked("send").at(-1).answer(status);
    await settle();
    sent.push(one.publish("a", "x", { key: "behind" }));
    sent.push(one.publish("a", "x", { key: "last" }));
    for (let i = 0; i < 5; i += 1) {
      await settle();
      const request = asked("send").at(-1);
      request.body.includes("id: bad") ? request.answer(status) : acknowledged(request);
    }
    assert.deepEqual(await Promise.all(sent), [at(0), status, at(0), at(0), at(0), at(1)]);
    assert.deepEqual(asked("send").map(({ body }) => keysOf(body)), [["good", "bad", "better", "best"], ["good"], ["bad"], ["better"], ["best"], ["behind", "last"]]);
    assert.equal(one.state, "open");
    one.close();
  }
});

test("of a message that closes the socket for its size only the publication that is too long alone is given up, and the transport stays", async () => {
  const one = await line();
  await up(1);
  const sent = ["good", "bad", "better"].map((key) => one.publish("a", "x", { key }).catch((fault) => fault.status));
  await settle();
  assert.deepEqual(socket().sent.map(keysOf), [["good", "bad", "better"]]);
  await again(1009);
  await up(1);
  assert.deepEqual(socket().sent.map(keysOf), [["good"]]);
  socket().say(published("good", 2));
  await settle();
  sent.push(one.publish("a", "x", { key: "behind" }));
  await settle();
  assert.deepEqual(socket().sent.map(keysOf), [["good"], ["bad"]]);
  await again(1009);
  assert.equal(await sent[1], 1009);
  await up(1);
  socket().say(published("better", 3));
  await settle();
  socket().say(published("behind", 4));
  assert.deepEqual(socket().sent.map(keysOf), [["better"], ["behind"]]);
  assert.deepEqual(await Promise.all(sent), [at(2), 1009, at(3), at(4)]);
  assert.deepEqual([one.transport, world.sockets.length], ["websocket", 3]);
});

test("what is published in one go leaves together, and what is beyond the rate, with all behind it, goes again in order after one wait", async () => {
  const one = await line();
  await up(1);
  for (let i = 0; i < 5; i += 1) one.publish("a", "x", { key: `k${i}` }).catch(() => {});
  await settle();
  one.publish("a", "x", { key: "k5" }).catch(() => {});
  one.publish("a", "now", { keep: "no" });
  await settle();
  const burst = ["k0", "k1", "k2", "k3", "k4"];
  assert.deepEqual(socket().sent.map(keysOf), [burst, ["k5"], []]);
  const late = (key, after) => socket().say(block({ event: "tautline.error", topic: "a", data: `429 publish ${key}\nmore than 100 a second\nafter ${after}` }));
  socket().say(published("k0", 2));
  late("k1", 2_000);
  late("k5", 10);
  one.publish("a", "x", { key: "k6" }).catch(() => {});
  await pass(2_499);
  assert.equal(socket().sent.length, 3);
  await pass(1);
  assert.deepEqual(socket().sent.slice(3).map(keysOf), [["k1", "k2", "k3", "k4", "k5", "k6"]]);
  // The wait outlives the connection.
  late("k1", 40_000);
  await again();
  await up(1);
  assert.deepEqual(socket().sent, []);
  await pass(9_500);
  assert.deepEqual(socket().sent.map(keysOf), [["k1", "k2", "k3", "k4", "k5", "k6"]]);
});

test("what does not fit into one message waits for the answers to it, so that nothing overtakes what is refused of it", async () => {
  const one = await line();
  await up(1);
  for (let i = 0; i < 3; i += 1) one.publish("a", "x".repeat(30_000), { key: `k${i}` }).catch(() => {});
  await settle();
  one.publish("a", "x", { key: "k3" }).catch(() => {});
  await settle();
  socket().say(published("k0", 2));
  await settle();
  assert.deepEqual(socket().sent.map(keysOf), [["k0", "k1"]]);
  socket().say(published("k1", 3));
  await settle();
  assert.deepEqual(socket().sent.map(keysOf), [["k0", "k1"], ["k2", "k3"]]);
});

test("one POST holds at most 64 Ki unless one publication is longer", async () => {
  const one = await line({ transports: ["sse"] });
  for (const size of [40_000, 20_000, 40_000, 100_000, 1]) one.publish("a", "x".repeat(size)).catch(() => {});
  asked("events").at(-1).answer().say(session, position(1));
  await settle();
  for (let i = 0; i < 4; i += 1) { 
    const keys = asked("send").at(-1).body.match(/id: \S+/g);
    asked("send").at(-1).answer(200, {}, keys.map((key) => block({ event: "tautline.ack", data: `${key.slice(4)} ${at(1)}` })).join(""));
    await settle();
  }
  assert.deepEqual(asked("send").map(({ body }) => (body.match(/id: /g) ?? []).length), [2, 1, 1, 1]);
});

test("a refused publication rejects; one too many just now is sent again after the wait", async () => {
  const one = await line();
  await up(1);
  const refused = one.publish("a", "x", { key: "k1" });
  const later = one.publish("a", "y", { key: "k2" });
  await settle();
  socket().say(block({ event: "tautline.error", topic: "a", data: "413 publish k1\nlonger than 5" }), block({ event: "tautline.error", topic: "a", data: "429 publish k2\nmore than 100 a second\nafter 1000" }));
  await assert.rejects(refused, { message: "longer than 5", status: 413 });
  await pass(999);
  assert.equal(socket().sent.length, 1);
  await pass(1_001);
  assert.deepEqual(socket().sent.map(keysOf), [["k1", "k2"], ["k2"]]);
  socket().say(block({ event: "tautline.ack", topic: "a", data: `k2 ${at(7)}` }));
  assert.equal(await later, at(7));
  assert.equal(one.told.error.length, 2);
});

test("the queue is bounded in size, and its limit named; close rejects what is left", async () => {
  const one = await line({ queue: 100 });
  const kept = [one.publish("a", "1", { key: "1" }), one.publish("a", "2", { key: "2" })];
  await assert.rejects(one.publish("a", "x".repeat(70)), /more than 100/);
  one.close();
  for (const promise of kept) await assert.rejects(promise, /closed/);
  await assert.rejects(one.publish("a", "4"), /closed/);
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

test("with ack every 50 events are acknowledged, and fewer 100 ms after the first: up to the cursor, also what came twice", async () => {
  for (const transport of ["websocket", "sse"]) {
    const one = await line({ transports: [transport], ack: true });
    const said = () => (transport === "sse" ? asked("ack").map(({ method, url }) => `${method} ${url.searchParams.get("lastId")}`) : socket().sent);
    const says = (n) => (transport === "sse" ? `POST ${at(n)}` : `event: tautline.ack\ndata: ${at(n)}\n\n`);
    const say = async (...blocks) => { transport === "sse" ? asked("events").at(-1).say(...blocks) : socket().say(...blocks); await settle(); };
    if (transport === "sse") asked("events").at(-1).answer();
    else socket().open();
    await say(session, position(0));
    assert.equal((transport === "sse" ? asked("events").at(-1) : socket()).url.searchParams.get("ack"), "1");
    await say(event(1));
    await pass(60);
    await say(event(2), position(3));
    await pass(39);
    assert.deepEqual(said(), []);
    await pass(1);
    assert.deepEqual(said(), [says(3)]);
    await say(...Array.from({ length: 120 }, (_, i) => event(i + 4)));
    assert.deepEqual(said(), [3, 53, 103].map(says));
    await pass(100);
    assert.deepEqual(said(), [3, 53, 103, 123].map(says));
    await say(event(7));
    await pass(100);
    assert.equal(said().length, 5);
    await pass(1_000);
    assert.equal(said().length, 5);
    one.close();
  }
});

test("by polls lastId is the acknowledgement, as they say; without the option nothing is acknowledged", async () => {
  await line({ transports: ["poll"], ack: true });
  assert.equal(asked("poll").at(-1).url.searchParams.get("ack"), "1");
  asked("poll").at(-1).answer(200, {}, event(1) + position(1));
  await pass(1_000);
  assert.deepEqual(["ack", "lastId"].map((name) => asked("poll").at(-1).url.searchParams.get(name)), ["1", at(1)]);
  assert.equal(asked("ack").length, 0);
  await line({ transports: ["poll"] });
  assert.equal(asked("poll").at(-1).url.searchParams.get("ack"), null);
  await line();
  await up(1, event(1));
  await pass(1_000);
  assert.deepEqual([socket().url.searchParams.get("ack"), socket().sent, asked("ack")], [null, [], []]);
});

test("elsewhere than on a WebSocket who is here is asked by POST; without a connection nothing is sent", async () => {
  const one = await line({ transports: ["poll"] });
  one.presence("a");
  asked("poll").at(-1).answer(200, {}, position(1));
  await settle();
  assert.equal(asked("send").length, 0);
  one.presence("a");
  await settle();
  assert.equal(asked("send")[0].body, "event: tautline.presence\ntopic: a\n\n");
  asked("send")[0].answer(200, {}, block({ event: "tautline.presence", topic: "a", data: "here 1\nAda" }));
  await settle();
  assert.deepEqual(one.told.presence, [{ topic: "a", change: "here", users: ["Ada"], count: 1 }]);
  assert.throws(() => one.presence("a b"), TypeError);
});
