// The block parser: the WHATWG cases of tests/data, each cut everywhere, and the bounds.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { above, blockParser } from "../../examples/web/tautline.js";

const cases = JSON.parse(readFileSync(new URL("../data/sse_cases.json", import.meta.url))).filter((one) => one.should_connect);

function parsed(chunks) {
  const events = [];
  const after = [];
  let [lastId, wait] = ["", null];
  const parse = blockParser(({ id, event, data, retry }) => {
    lastId = id ?? lastId;
    wait = retry ?? wait;
    if (data !== undefined) events.push({ event: event || "message", data, last_event_id: lastId });
  });
  for (const chunk of chunks) {
    parse(chunk);
    after.push(events.length);
  }
  return { events, retry: wait, lastId, after };
}

test("every case of tests/data gives its events, retry and last id, in one piece and in its chunks, and no event comes late", () => {
  assert.ok(cases.length > 80);
  for (const one of cases) {
    const chunks = one.chunks.map((chunk) => Buffer.from(chunk, "base64"));
    for (const pieces of [chunks, [Buffer.concat(chunks)]]) {
      const got = parsed(pieces);
      assert.deepEqual(got.events, one.expected_events, one.name);
      assert.equal(got.retry, one.expected_retry_ms, one.name);
      // (null: not representable in a header, so the case does not say.)
      assert.equal(got.lastId, one.reconnect_last_event_id ?? got.lastId, one.name);
      if (pieces === chunks && one.events_after_chunk) assert.deepEqual(got.after, one.events_after_chunk, one.name);
    }
  }
});

test("r14 any cut gives the same events", () => {
  for (const one of cases) {
    const bytes = Buffer.concat(one.chunks.map((chunk) => Buffer.from(chunk, "base64")));
    const sizes = one.rechunk_every_byte ? [1, 2, 3] : [7, 4096, 65536];
    for (const size of sizes) {
      const pieces = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
      assert.deepEqual(parsed(pieces).events, one.expected_events, `${one.name} by ${size}`);
    }
    for (let cut = 0; one.rechunk_every_byte && bytes.length < 400 && cut <= bytes.length; cut += 1) {
      const got = parsed([bytes.subarray(0, cut), bytes.subarray(cut)]);
      assert.deepEqual([got.events, got.lastId], [one.expected_events, one.reconnect_last_event_id ?? got.lastId], `${one.name} at ${cut}`);
    }
  }
});

test("topic is read, a block's own id is told from one that stuck, and a position block has no data", () => {
  const blocks = [];
  blockParser((block) => blocks.push(block))("id: 1-0-aa\ntopic: a\nevent: e\ndata: x\n\ntopic: b\ndata: y\n\nid: 2-0-aa\n\n: beat\n\nretry: 5\n\n");
  assert.deepEqual(blocks, [{ id: "1-0-aa", topic: "a", event: "e", data: "x" }, { topic: "b", data: "y" }, { id: "2-0-aa" }, { retry: 5 }]);
});

test("r8_r9 a line and a block are bounded; comments and unknown fields of any length are skipped", () => {
  const piece = "x".repeat(1000);
  const fed = (...texts) => {
    let events = 0;
    const parse = blockParser(() => (events += 1), 10_000);
    for (const text of texts) parse(text);
    return events;
  };
  const many = Array(100).fill(piece);
  assert.equal(fed(":", ...many, "\n", "unknown", ...many, "\n", "unknown: ", ...many, "\n", "data: y\n\n"), 1);
  assert.throws(() => fed("data: ", ...many), /longer than 10000/);
  assert.throws(() => fed(...Array(20_000).fill("data:\n")), /longer than 10000/);
  assert.equal(fed(`data: ${"x".repeat(9_000)}\n\n`, `data: ${"x".repeat(9_000)}\n\n`), 2);
});

test("cursors compare as pairs of numbers of any size; another log's replaces; none and 0 are below all", () => {
  const rising = ["9-0-aa", "9-9-aa", "9-10-aa", "10-0-aa", "99999999999999999999-0-aa", "100000000000000000000-0-aa", "100000000000000000000-18446744073709551615-aa"];
  rising.forEach((one, i) => rising.forEach((other, j) => assert.equal(above(one, other), i > j, `${one} ${other}`)));
  assert.ok(above("1-0-bb", "9-9-aa") && above("1-0-aa", "9-9") && above("0-0-aa", "") && above("0-0-aa", "0"));
  assert.ok(!above("", "1-0-aa") && !above("0", "1-0-aa") && !above("", ""));
});

test("the module has fewer than 400 lines, of at most 120 characters, and imports nothing", () => {
  const text = readFileSync(new URL("../../examples/web/tautline.js", import.meta.url), "utf8");
  const lines = text.split("\n");
  assert.ok(lines.length - 1 < 400, `${lines.length - 1} lines`);
  assert.deepEqual(lines.filter((line) => line.length > 120), []);
  assert.ok(!/^\s*import\b|\bimport\(|\brequire\(/m.test(text));
});
