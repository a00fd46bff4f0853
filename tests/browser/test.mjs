// Drives the example server's page as two people would: chat, presence, feed, figures, a restart, a phone, the dark.
// Each step says what it holds; the first that fails ends the run with 1.

import assert from "node:assert/strict";
import { mkdtempSync, mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Server } from "./server.mjs";

const shots = process.env.SHOTS ?? new URL("shots", import.meta.url).pathname;
mkdirSync(shots, { recursive: true });

const profile = mkdtempSync(join(tmpdir(), "tautline-browser-"));
let server = await Server.start("--port", "0", "--workers", "2");
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: { width: 1280, height: 860 },
  colorScheme: "light",
});
browser.setDefaultTimeout(15000);

// What the browser complains about. While the server is down, that it is.
const complaints = [];
let down = false;
function watch(page) {
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    if (down && /ERR_|WebSocket connection/.test(message.text())) return;
    complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url)) complaints.push(`a request to elsewhere: ${request.url()}`);
  });
}

let steps = 0;
async function step(promise, body) {
  const began = Date.now();
  await body();
  steps += 1;
  console.log(`ok ${steps} ${promise} (${Date.now() - began} ms)`);
}

async function tab(name) {
  const page = await browser.newPage();
  watch(page);
  await page.goto(server.url);
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await connected(page);
  return page;
}

// Waits until something holds in the page. (Playwright's own waitForFunction is an `eval` in the page, which its policy forbids.)
async function until(page, holds, argument, timeout = 15000) {
  const end = Date.now() + timeout;
  for (;;) {
    if (await page.evaluate(holds, argument)) return;
    if (Date.now() > end) throw new Error(`did not come to hold: ${holds} with ${JSON.stringify(argument)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
const connected = (page, timeout) =>
  until(page, () => [...document.querySelectorAll(".line[data-state]")].every((line) => line.dataset.state === "open"), null, timeout);
const here = (page, ...names) =>
  until(
    page,
    (names) => {
      const shown = [...document.querySelectorAll("#people li")].map((item) => item.textContent.replace(" (you)", ""));
      return JSON.stringify(shown.sort()) === JSON.stringify(names) && document.querySelector("#people-count").textContent == names.length;
    },
    names.sort(),
  );
async function say(page, text) {
  await page.fill("#compose-text", text);
  await page.press("#compose-text", "Enter");
}
const bubbles = (page) => page.$$eval(".bubble", (items) => items.map((item) => item.textContent));
const reads = (page, text) => until(page, (text) => [...document.querySelectorAll(".bubble")].some((item) => item.textContent === text), text);
const gets = (page, data) => until(page, (data) => document.querySelector("#events .what")?.textContent === data, data);

let failed = false;
try {
  const ada = await tab("Ada");
  await ada.screenshot({ path: join(shots, "alone.png") });
  const ben = await tab("Ben");

  await step("both tabs are connected by both transports, and see each other", async () => {
    await here(ada, "Ada", "Ben");
    await here(ben, "Ada", "Ben");
    assert.match(await ada.textContent("#log"), /Ben came in/);
  });

  await step("a message reaches the other tab once, and its sender sees it as sent", async () => {
    await say(ada, "Hello, is anyone there?");
    await reads(ben, "Hello, is anyone there?");
    await say(ben, "I am. <b>Not bold</b> & “quoted” – naïve 🙂");
    await reads(ada, "I am. <b>Not bold</b> & “quoted” – naïve 🙂");
    await until(ada, () => !document.querySelector(".pending"));
    for (const page of [ada, ben]) assert.equal((await bubbles(page)).length, 2);
    assert.equal(await ada.$$eval(".says.mine", (mine) => mine.length), 1);
    assert.equal(await ben.$$eval(".by b", (names) => names.map((name) => name.textContent).join()), "Ada,Ben");
  });

  await step("presence follows who changes rooms, changes names and leaves", async () => {
    await ben.click(".chip:has-text('engineering')");
    await here(ada, "Ada");
    await here(ben, "Ben");
    await say(ada, "Nobody hears this");
    await ben.click(".chip:has-text('lobby')");
    await here(ada, "Ada", "Ben");
    assert.ok(!(await bubbles(ben)).includes("Nobody hears this"));
    await ben.fill("#name", "Benjamin");
    await ben.press("#name", "Enter");
    await here(ada, "Ada", "Benjamin");
    const cleo = await tab("Cleo");
    await here(ada, "Ada", "Benjamin", "Cleo");
    await cleo.close();
    await here(ada, "Ada", "Benjamin");
  });

  await step("a room of one's own is in the address, and a reload comes back to it under the same name", async () => {
    await ben.fill("#room", "boat.shed");
    await ben.press("#room", "Enter");
    await here(ben, "Benjamin");
    await ben.reload();
    await connected(ben);
    await here(ben, "Benjamin");
    assert.equal(await ben.textContent(".chip[aria-pressed=true]"), "boat.shed");
    await ben.click(".chip:has-text('lobby')");
    await here(ben, "Ada", "Benjamin");
  });

  await step("a POST to /publish reaches the feed of both tabs, as it is", async () => {
    for (const data of ["hello", '{"build":421,"ok":true}', "two\nlines"]) {
      assert.equal((await server.publish("default", data)).status, 200);
      await Promise.all([gets(ada, data), gets(ben, data)]);
    }
    assert.match(await ada.textContent("#events code"), /^\d+-\d+-[0-9a-f]{8}$/);
  });

  await step("what is published to a room's name reaches the chat, too", async () => {
    await server.publish("lobby", "deployed");
    await until(ada, () => document.querySelector(".tells.event")?.textContent === "Published: deployed");
  });

  await step("publishing from the page reaches the other tab; another topic does not mix in", async () => {
    await ada.fill("#publish-text", "from the page");
    await ada.press("#publish-text", "Enter");
    await gets(ben, "from the page");
    await ben.fill("#topic", "builds/main");
    await ben.press("#topic", "Enter");
    await until(ben, () => document.querySelector("#curl").textContent.includes("topic=builds/main"));
    await connected(ben);
    await server.publish("default", "not for Ben");
    await server.publish("builds/main", "for Ben");
    await gets(ben, "for Ben");
    assert.equal(await ben.$$eval("#events li", (items) => items.length), 1);
    await ben.fill("#topic", "default");
    await ben.press("#topic", "Enter");
    await connected(ben);
  });

  await step("round trip, figures and plot are there and move", async () => {
    await until(ada, () => /^[\d.]+ ms$/.test(document.querySelector("#rtt").textContent));
    for (let i = 0; i < 30; i += 1) await say(ada, `A rather quick message, number ${i + 1}`);
    await until(ada, () => Number(document.querySelector("#figure-received").textContent) > 1);
    await until(ada, () => (document.querySelector(".plot path.line-in:not(.area)").getAttribute("d").match(/L/g) ?? []).length >= 3);
    // The chat's and the panel's of each tab.
    assert.equal(await ada.textContent("#figure-websockets"), "4");
    assert.equal(await ada.textContent("#figure-streams"), "2");
    const label = await ada.getAttribute(".plot svg", "aria-label");
    assert.match(label, /received and .* sent per second/);
    await reads(ben, "A rather quick message, number 30");
  });

  await step("a token stream ends in order", async () => {
    await ada.fill("#prompt", "What is a taut line?");
    await ada.press("#prompt", "Enter");
    await until(ada, () => /^\d+ tokens in/.test(document.querySelector("#answer-state").textContent));
    const answer = await ada.textContent("#answer");
    assert.ok(answer.startsWith("You asked: “What is a taut line?”. A taut line is one"), answer);
    assert.ok(answer.endsWith("you know that it is not."), answer);
  });

  await step("a page of another origin changes nothing and reads nothing", async () => {
    const elsewhere = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<title>elsewhere</title>"));
    await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    const page = await browser.newPage();
    const requests = async () => Number((await (await fetch(`${server.url}/metrics`)).text()).match(/^tautline_requests_total (\d+)/m)[1]);
    const before = await requests();
    await page.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
    const outcome = await page.evaluate(async (target) => {
      const tried = (promise) => promise.then((answer) => answer.type, () => "failed");
      const opens = (line) => new Promise((resolve) => ((line.onopen = () => resolve("open")), (line.onerror = () => resolve("failed"))));
      return {
        blind: await tried(fetch(`${target}/publish`, { method: "POST", mode: "no-cors", body: "from elsewhere" })),
        seeing: await tried(fetch(`${target}/publish`, { method: "POST", body: "from elsewhere" })),
        socket: await opens(new WebSocket(`${target.replace("http", "ws")}/ws`)),
        stream: await opens(new EventSource(`${target}/events`)),
      };
    }, server.url);
    assert.deepEqual(outcome, { blind: "failed", seeing: "failed", socket: "failed", stream: "failed" });
    // They arrived, and were refused there: it was not the browser that held them back.
    assert.ok((await requests()) >= before + 4);
    await page.close();
    elsewhere.close();
    await server.publish("default", "the next one");
    await gets(ada, "the next one");
    assert.ok(!(await ada.textContent("#events")).includes("from elsewhere"));
  });

  const line = (page, transport) =>
    until(page, (transport) => Object.entries({ state: "open", transport }).every(([key, value]) => document.querySelector("#one-line").dataset[key] === value), transport);
  const ids = (page) => page.$$eval("#one-events code", (codes) => codes.map((code) => code.textContent).filter(Boolean));
  let expected = 0;
  // Everything that any tab published came to both, once and in the same order.
  const counted = async () => {
    for (const page of [ada, ben]) {
      await until(page, (count) => document.querySelector("#one-received").textContent == count, expected);
      assert.equal(await page.textContent("#one-twice"), "0");
      assert.equal(await page.textContent("#one-gaps"), "0");
    }
    const [one, other] = [await ids(ada), await ids(ben)];
    assert.equal(new Set(one).size, Math.min(expected, 100));
    assert.deepEqual(one, other);
  };
  const publishes = async (page) => {
    await page.click("#one-publish");
    expected += 10;
    await counted();
  };

  await step("one line: what a tab publishes is acknowledged, and comes to both tabs once", async () => {
    await Promise.all([line(ada, "websocket"), line(ben, "websocket")]);
    await until(ada, () => document.querySelector("#one-here").textContent === "2 here");
    await publishes(ada);
    await until(ada, () => document.querySelector("#one-acknowledged").textContent === "10");
    assert.equal(await ada.textContent("#one-cursor"), (await ids(ada))[0]);
  });

  await step("one line: cut, it comes back and has what was published meanwhile", async () => {
    for (let i = 0; i < 3; i += 1) {
      await ada.click("#one-cut");
      await until(ada, () => document.querySelector("#one-line").dataset.state !== "open");
      await publishes(ben);
      await line(ada, "websocket");
    }
  });

  await step("one line: by each transport it goes on from its cursor, and one transport is always left", async () => {
    await ada.uncheck("input[value=websocket]");
    await publishes(ben);
    await line(ada, "sse");
    await publishes(ada);
    await ada.uncheck("input[value=sse]");
    await publishes(ben);
    await line(ada, "poll");
    assert.ok(await ada.isDisabled("input[value=poll]"));
    await publishes(ada);
    await until(ada, () => document.querySelector("#one-acknowledged").textContent === "30");
    await ada.click("#one-cut");
    await publishes(ben);
    await line(ada, "poll");
    await ada.check("input[value=sse]");
    await ada.check("input[value=websocket]");
    await line(ada, "websocket");
    await publishes(ben);
  });

  const look = async (name, width, height, colorScheme) => {
    await ada.setViewportSize({ width, height });
    await ada.emulateMedia({ colorScheme });
    await ada.evaluate(() => scrollTo(0, 0));
    await ada.waitForTimeout(300);
    await ada.screenshot({ path: join(shots, `${name}.png`), fullPage: width < 600 });
    return ada.evaluate(() => {
      const page = document.scrollingElement;
      const wide = [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width && box.right > innerWidth + 0.5 && !element.closest(".shell, .skip, svg");
      });
      return { over: page.scrollWidth - page.clientWidth, wide: wide.map((element) => element.outerHTML.slice(0, 80)) };
    });
  };

  await step("light and dark, desktop and phone: nothing is wider than the screen", async () => {
    await say(ben, "That was quick. And this is a longer message, so that one sees how lines break when there is more to say than fits.");
    await ada.waitForTimeout(300);
    const colours = [];
    for (const colorScheme of ["light", "dark"]) {
      for (const [name, width, height] of [["desktop", 1440, 900], ["tablet", 768, 1024], ["phone", 360, 740], ["narrow", 320, 640]]) {
        const seen = await look(`${name}-${colorScheme}`, width, height, colorScheme);
        assert.deepEqual(seen, { over: 0, wide: [] }, `${name} ${colorScheme}`);
      }
      colours.push(await ada.evaluate(() => getComputedStyle(document.body).backgroundColor));
    }
    assert.notEqual(colours[0], colours[1]);
    await ada.setViewportSize({ width: 1280, height: 860 });
  });

  await step("all controls have names, all text has contrast, and the keyboard reaches the chat", async () => {
    for (const colorScheme of ["light", "dark"]) {
      await ada.emulateMedia({ colorScheme });
      const faults = await ada.evaluate(findFaults);
      assert.deepEqual(faults, [], colorScheme);
    }
    await ada.evaluate(() => {
      document.body.tabIndex = -1;
      document.body.focus();
      document.body.removeAttribute("tabindex");
    });
    await ada.keyboard.press("Tab");
    assert.equal(await ada.evaluate(() => document.activeElement.className), "skip");
    await ada.keyboard.press("Enter");
    assert.equal(await ada.evaluate(() => document.activeElement.id), "compose-text");
  });

  await step("a restart of the server is shown, and both lines come back by themselves", async () => {
    await ada.emulateMedia({ colorScheme: "light" });
    down = true;
    const began = Date.now();
    assert.equal(await server.stop(), 0);
    assert.ok(Date.now() - began < 5000, "a drain of two tabs takes no time");
    await until(ada, () => document.querySelector("#socket-line").dataset.state === "waiting");
    await until(ada, () => /^try [2-9] in [\d.]+ s$/.test(document.querySelector("#socket-line .line-wait").textContent));
    await until(ada, () => /^try \d+ in [\d.]+ s$/.test(document.querySelector("#stream-line .line-wait").textContent));
    assert.ok(await ada.isDisabled("#compose-text"));
    await ada.screenshot({ path: join(shots, "reconnecting.png") });
    server = await Server.start("--port", server.port, "--workers", "2");
    await Promise.all([connected(ada, 60000), connected(ben, 60000)]);
    down = false;
    await here(ada, "Ada", "Benjamin");
    await here(ben, "Ada", "Benjamin");
    await say(ben, "Back again");
    await reads(ada, "Back again");
    await server.publish("default", "after the restart");
    await Promise.all([gets(ada, "after the restart"), gets(ben, "after the restart")]);
    // The line's cursor is of a log that is gone: it says so, and counts on.
    const [before] = await Promise.all([ids(ada), ...[ada, ben].map((page) => until(page, () => document.querySelector("#one-gaps").textContent === "1"))]);
    assert.match(await ada.textContent("#one-events .gap"), /room\/line: unknown/);
    await ada.click("#one-publish");
    for (const page of [ada, ben]) {
      await until(page, (count) => document.querySelector("#one-received").textContent == count, expected + 10);
      assert.equal(await page.textContent("#one-twice"), "0");
    }
    const after = await ids(ada);
    assert.notEqual(after[0].slice(-8), before[0].slice(-8), "another log");
    assert.deepEqual(after.slice(0, 10), (await ids(ben)).slice(0, 10));
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /tautline_reconnects_total\{transport="event_stream"\} [1-9]/);
  });

  await step("with a token the page asks for it, and publishes with it", async () => {
    const locked = await Server.start("--port", "0", "--token", "open-sesame");
    try {
      const page = await browser.newPage();
      await page.goto(locked.url);
      await connected(page);
      assert.ok(await page.isHidden("#token"));
      await page.fill("#publish-text", "secret");
      await page.press("#publish-text", "Enter");
      await page.waitForSelector("#token", { state: "visible" });
      assert.match(await page.textContent("#publish-problem"), /token/);
      await page.fill("#token", "open-sesame");
      await page.press("#token", "Enter");
      await gets(page, "secret");
      assert.ok(await page.isHidden("#publish-problem"));
      await page.click("#one-publish");
      await until(page, () => document.querySelector("#one-received").textContent === "10");
      await page.reload();
      await connected(page);
      await page.click("#one-publish");
      await until(page, () => /token/.test(document.querySelector("#one-problem").textContent));
      assert.ok(await page.isVisible("#token"));
      await page.close();
    } finally {
      await locked.stop();
    }
  });

  await step("the browser complained about nothing", async () => assert.deepEqual(complaints, []));
  console.log(`${steps} steps, screenshots in ${shots}`);
} catch (error) {
  failed = true;
  console.error("not ok", error);
  console.error("the browser said:", complaints);
} finally {
  await browser.close();
  await server.stop();
  rmSync(profile, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);

// In the page: controls without a name, and text with a contrast under 4.5 (WCAG 2, 1.4.3).
function findFaults() {
  const faults = [];
  for (const control of document.querySelectorAll("input, button")) {
    const named = control.labels?.length || control.textContent.trim() || control.getAttribute("aria-label");
    if (!named) faults.push(`no name: ${control.outerHTML.slice(0, 80)}`);
  }
  // A canvas turns any colour that CSS knows into bytes.
  const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const bytes = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((byte) => ((byte /= 255) <= 0.04045 ? byte / 12.92 : ((byte + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = bytes(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest("noscript, :disabled, .hidden")) continue;
    const [text, ground] = [bytes(getComputedStyle(element).color), behind(element)].map((colour) => luminance(colour.slice(0, 3)));
    const contrast = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(2)}: ${element.outerHTML.slice(0, 100)}`);
  }
  return faults;
}
