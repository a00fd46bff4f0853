// The page: puts the lines, the chat, the feed and the plot together.

import { Chat, clock } from "./chat.js";
import { Socket, Stream } from "./lines.js";
import { One } from "./one.js";
import { Plot, format } from "./plot.js";

const $ = (id) => document.getElementById(id);
const FIGURES = "server/stats";
const KEPT = 100;

// Names.

const FIRST = ["Calm", "Brisk", "Quiet", "Bold", "Merry", "Keen", "Steady", "Bright", "Swift", "Gentle"];
const SECOND = ["Otter", "Heron", "Lynx", "Finch", "Badger", "Marten", "Plover", "Hare", "Gannet", "Vole"];
const pick = (list) => list[Math.floor(Math.random() * list.length)];

// A tab's own, so that two tabs are two people; and it stays over a reload.
const memory = {
  get: (key) => { try { return sessionStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* Without it each load is a new person. */ } },
};
const name = memory.get("name") ?? `${pick(FIRST)} ${pick(SECOND)}`;
memory.set("name", name);
$("name").value = name;

// The state of the lines.

function showLine(line, element) {
  const [state, wait, now] = [".line-state", ".line-wait", ".now"].map((part) => element.querySelector(part));
  let ticker = 0;
  line.onstate = (is, attempt, until) => {
    element.dataset.state = is;
    // The button is not for those who would have to be quick: it shows where waiting is worth cutting short.
    now.hidden = is !== "waiting";
    state.textContent = { open: "connected", waiting: "lost" }[is] ?? (attempt ? "reconnecting" : "connecting");
    clearInterval(ticker);
    wait.textContent = "";
    if (is === "waiting") {
      const tick = () => (wait.textContent = `try ${attempt} in ${Math.max(0, (until - performance.now()) / 1000).toFixed(1)} s`);
      ticker = setInterval(tick, 100);
      tick();
    }
  };
  now.addEventListener("click", () => line.now());
}

// Chat.

const ROOM = /^[A-Za-z0-9_.:-]{1,64}$/;
const rooms = ["lobby", "engineering", "random"];
const asked = decodeURIComponent(location.hash.slice(1));
const socket = new Socket("/ws");
showLine(socket, $("socket-line"));
const parts = {
  log: $("log"), people: $("people"), count: $("people-count"), compose: $("compose"), text: $("compose-text"),
  send: $("compose").querySelector("button"),
};
const chat = new Chat(socket, parts, name, ROOM.test(asked) ? asked : rooms[0]);
chat.onjoined = () => showRooms();

const shown = socket.onstate;
socket.onstate = (...state) => {
  shown(...state);
  if (state[0] !== "open") {
    $("rtt").textContent = "–";
    chat.lost();
  }
};
socket.onrtt = (ms) => ($("rtt").textContent = ms < 10 ? `${ms.toFixed(2)} ms` : `${Math.round(ms)} ms`);

function showRooms() {
  if (!rooms.includes(chat.room)) rooms.push(chat.room);
  const chips = rooms.map((room) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.textContent = room;
    chip.setAttribute("aria-pressed", room === chat.room);
    chip.addEventListener("click", () => enter(room));
    return chip;
  });
  const focused = document.activeElement?.classList.contains("chip");
  $("rooms").replaceChildren(...chips);
  if (focused) chips[rooms.indexOf(chat.room)].focus();
}

function enter(room) {
  chat.enter(room);
  history.replaceState(null, "", `#${room}`);
  showRooms();
}

$("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const room = $("room").value.trim();
  if (!ROOM.test(room)) return;
  $("room").value = "";
  enter(room);
});

function rename(event) {
  event.preventDefault();
  const wanted = $("name").value.trim();
  if (!wanted) return;
  memory.set("name", wanted);
  chat.rename(wanted);
}
$("name-form").addEventListener("submit", rename);
$("name").addEventListener("change", rename);

// Feed and plot: one stream carries both, as a browser has only six connections to a server.

const stream = new Stream();
showLine(stream, $("stream-line"));
const plot = new Plot($("plot"));
let topic = "default";

stream.onfigures = (figures) => {
  plot.add(figures.received, figures.sent);
  for (const key of ["received", "sent", "websockets", "streams"]) $(`figure-${key}`).textContent = format(figures[key]);
};

stream.onevent = (event) => {
  const item = document.createElement("li");
  item.className = "new";
  const what = document.createElement("span");
  what.className = "what";
  what.textContent = event.data || "(empty)";
  const when = document.createElement("span");
  when.className = "when";
  const id = document.createElement("code");
  id.textContent = event.lastEventId;
  id.title = "The event's id: where a client that comes back goes on";
  when.append(clock(Date.now()), id);
  item.append(what, when);
  $("events").prepend(item);
  while ($("events").children.length > KEPT) $("events").lastChild.remove();
  fade();
  $("events-empty").textContent = "From a terminal:";
};

// Where there is more below, the lower edge shows it.
function fade() {
  const { scrollTop, clientHeight, scrollHeight } = $("events");
  $("events").classList.toggle("cut", scrollTop + clientHeight < scrollHeight - 2);
}
$("events").addEventListener("scroll", fade, { passive: true });
addEventListener("resize", fade);

function follow(wanted) {
  topic = wanted;
  $("topic").value = topic;
  $("curl").textContent = `curl -d 'hello' '${location.origin}/publish?topic=${topic}'`;
  $("events").replaceChildren();
  fade();
  $("events-empty").textContent = "Nothing yet. Publish here, or from a terminal:";
  stream.follow([topic, FIGURES]);
}

function changeTopic(event) {
  event.preventDefault();
  const wanted = $("topic").value.trim();
  if (wanted && wanted !== topic && $("topic").checkValidity()) follow(wanted);
}
$("topic-form").addEventListener("submit", changeTopic);
$("topic").addEventListener("change", changeTopic);

// What publishing takes where the server has a token.
function authorization() {
  const token = $("token").value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// Why a POST failed, in words; and the field for the token where that is why.
async function problemOf(response) {
  if (response.status === 401) $("token-form").hidden = false;
  return (await response.text()).trim() || `The server answered ${response.status}.`;
}

$("publish").addEventListener("submit", async (event) => {
  event.preventDefault();
  const data = $("publish-text").value;
  if (!data) return;
  let problem = "";
  try {
    const url = `/publish?topic=${encodeURIComponent(topic)}`;
    const response = await fetch(url, { method: "POST", body: data, headers: authorization() });
    if (response.ok) $("publish-text").value = "";
    else problem = await problemOf(response);
  } catch {
    problem = "The server cannot be reached.";
  }
  $("publish-problem").textContent = problem;
  $("publish-problem").hidden = !problem;
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  $("publish").requestSubmit();
});

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    $("copy").textContent = "Copied";
    setTimeout(() => ($("copy").textContent = "Copy"), 1500);
  } catch {
    // Not allowed here: then it is marked, to be copied by hand.
    getSelection().selectAllChildren($("curl"));
  }
});

// One line.

const part = (name) => [name, $(`one-${name}`)];
const names = ["line", "name", "now", "cut", "publish", "problem", "acknowledged", "received", "twice", "gaps", "cursor", "events", "here"];
const one = new One({
  ...Object.fromEntries(names.map(part)),
  words: $("one-state"),
  delay: $("one-wait"),
  transports: [...document.querySelectorAll("input[name=transport]")],
});
one.authorization = authorization;
one.ontoken = () => ($("token-form").hidden = false);

// Tokens: begun by a POST, so `fetch` and not `EventSource`. What comes is cut anywhere; a blank line ends an event.

let running = null;

$("tokens").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) return running.abort();
  running = new AbortController();
  const button = $("tokens").querySelector("button");
  button.textContent = "Stop";
  $("answer").textContent = "";
  $("answer").hidden = false;
  $("answer").classList.add("running");
  $("answer-state").textContent = "answering";
  const began = performance.now();
  try {
    const options = { method: "POST", body: $("prompt").value, headers: authorization(), signal: running.signal };
    const response = await fetch("/tokens", options);
    if (!response.ok) throw new Error(await problemOf(response));
    const tokens = await read(response.body);
    $("answer-state").textContent = tokens
      ? `${tokens} tokens in ${((performance.now() - began) / 1000).toFixed(1)} s`
      : "The line broke before the end.";
  } catch (error) {
    $("answer-state").textContent = error.name === "AbortError" ? "stopped" : error.message;
  }
  $("answer").classList.remove("running");
  $("answer").hidden = !$("answer").textContent;
  button.textContent = "Ask";
  running = null;
});

// Shows the tokens of a stream as they come. How many there were, or 0 if its end did not come.
async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return 0;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = field("data");
      if (field("event") === "token") $("answer").append(JSON.parse(data).text);
      if (field("event") === "done") return JSON.parse(data).tokens;
    }
  }
}

showRooms();
follow(topic);
socket.start();
