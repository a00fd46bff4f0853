// The chat: one room at a time, over the socket that app.js gives it. The protocol is described in the server's chat.rs.

const KEPT = 200;
const GROUP = 120000;

export class Chat {
  #socket;
  #parts;
  #name;
  #room;
  #me = 0;
  #joined = false;
  #seq = 0;
  #members = new Map();
  // Messages that the server has not confirmed yet, by their `ref`.
  #pending = new Map();
  #last = { id: 0, at: 0 };
  #atEnd = true;
  #greeted = {};
  onjoined = () => {};

  constructor(socket, parts, name, room) {
    this.#socket = socket;
    this.#parts = parts;
    this.#name = name;
    this.#room = room;
    socket.onmessage = (message) => this.#receive(message);
    socket.onblock = (fields) => this.#published(fields);
    parts.compose.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say(parts.text.value);
    });
    // New messages scroll into sight, unless somebody is reading further up; and so it stays when a phone is turned.
    const { log } = parts;
    log.addEventListener("scroll", () => (this.#atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40));
    new ResizeObserver(() => this.#follow()).observe(log);
  }

  get room() {
    return this.#room;
  }

  // The line is gone: who is there is not known any more.
  lost() {
    this.#joined = false;
    this.#members.clear();
    for (const item of this.#pending.values()) mark(item, "unsent");
    this.#pending.clear();
    this.#show();
  }

  enter(room) {
    if (room === this.#room) return;
    this.#part();
    this.#room = room;
    this.#parts.log.replaceChildren();
    this.#last = { id: 0, at: 0 };
    this.#join();
  }

  rename(name) {
    if (name === this.#name) return;
    this.#part();
    this.#name = name;
    this.#join();
  }

  #join() {
    this.#socket.ask({ type: "join", room: this.#room, name: this.#name });
    this.#show();
  }

  #part() {
    this.#joined = false;
    this.#members.clear();
    this.#socket.ask({ type: "leave", room: this.#room });
  }

  #say(text) {
    if (!text.trim() || !this.#joined) return;
    const ref = this.#socket.ask({ type: "message", room: this.#room, text });
    const item = this.#put({ id: this.#me, name: this.#name }, text, Date.now());
    if (!ref) return mark(item, "unsent");
    mark(item, "pending");
    this.#pending.set(ref, item);
    this.#parts.text.value = "";
  }

  #receive(message) {
    if (message.type === "welcome") {
      this.#me = message.id;
      return this.#join();
    }
    if (message.type === "error") return this.#complain(message);
    // What was on its way when the room was left.
    if (message.room !== this.#room) return;
    switch (message.type) {
      case "joined":
        this.#joined = true;
        this.#count(message);
        this.#tell(this.#greeting());
        this.#greeted = { room: this.#room, name: this.#name };
        this.onjoined(message.room);
        break;
      case "here":
        this.#count(message);
        break;
      case "entered":
        if (this.#isNews(message)) {
          this.#members.set(message.id, message.name);
          this.#tell(`${message.name} came in.`);
        }
        break;
      case "left":
        if (this.#isNews(message)) {
          const name = this.#members.get(message.id);
          this.#members.delete(message.id);
          if (name) this.#tell(`${name} left.`);
        }
        break;
      case "message":
        this.#put(message.from, message.text, message.at);
        break;
      case "sent":
        mark(this.#pending.get(message.ref), "");
        this.#pending.delete(message.ref);
        break;
    }
    this.#show();
  }

  // To the topic of the room's name.
  #published({ topic, data }) {
    if (topic === this.#room) this.#tell(`Published: ${data}`, "event");
  }

  // Whether a change of the room is news. One that was on its way when the list was made is none; behind a gap the list is asked for anew.
  #isNews({ seq }) {
    if (!this.#joined || seq <= this.#seq) return false;
    if (seq !== this.#seq + 1) this.#socket.ask({ type: "who", room: this.#room });
    this.#seq = seq;
    return true;
  }

  #greeting() {
    const { room, name } = this.#greeted;
    if (room === this.#room) return name === this.#name ? "Connected again." : `You are ${this.#name} now.`;
    return `You are in #${this.#room}${this.#members.size > 1 ? "" : ", alone so far. Open a second tab"}.`;
  }

  #count({ seq, members }) {
    this.#seq = seq;
    this.#members = new Map(members.map(({ id, name }) => [id, name]));
  }

  #complain({ ref, message }) {
    mark(this.#pending.get(ref), "unsent");
    this.#pending.delete(ref);
    this.#tell(message);
  }

  #put(from, text, at) {
    const item = document.createElement("li");
    const more = from.id === this.#last.id && at - this.#last.at < GROUP;
    item.className = `says${from.id === this.#me ? " mine" : ""}${more ? " more" : ""}`;
    item.style.setProperty("--hue", hue(from.name));
    const by = document.createElement("span");
    by.className = "by";
    const name = document.createElement("b");
    name.textContent = from.name;
    by.append(name, ` ${clock(at)}`);
    const bubble = document.createElement("span");
    bubble.className = "bubble";
    bubble.textContent = text;
    item.append(by, bubble);
    this.#last = { id: from.id, at };
    this.#append(item, from.id === this.#me);
    return item;
  }

  #tell(text, kind = "") {
    const item = document.createElement("li");
    item.className = `tells ${kind}`;
    item.textContent = text;
    this.#last = { id: 0, at: 0 };
    this.#append(item, false);
  }

  #append(item, always) {
    const { log } = this.#parts;
    log.append(item);
    while (log.children.length > KEPT) log.firstChild.remove();
    this.#atEnd ||= always;
    this.#follow();
  }

  #follow() {
    const { log } = this.#parts;
    if (this.#atEnd) log.scrollTop = log.scrollHeight;
  }

  #show() {
    const { people, count, text, send } = this.#parts;
    const members = [...this.#members].map(([id, name]) => {
      const item = document.createElement("li");
      item.textContent = id === this.#me ? `${name} (you)` : name;
      item.className = id === this.#me ? "me" : "";
      item.style.setProperty("--hue", hue(name));
      return item;
    });
    people.replaceChildren(...members);
    count.textContent = this.#joined ? this.#members.size : "0";
    count.closest(".people").classList.toggle("unknown", !this.#joined);
    text.disabled = send.disabled = !this.#joined;
    text.placeholder = this.#joined ? `Message #${this.#room}` : "Waiting for the line";
  }
}

// The time of day, written alike wherever the page shows one.
export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function mark(item, state) {
  item?.classList.remove("pending", "unsent");
  if (item && state) item.classList.add(state);
}

// The same colour for the same name, everywhere.
function hue(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return (hash * 47) % 360;
}
