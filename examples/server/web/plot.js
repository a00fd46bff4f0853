// A line plot of the last minute, as SVG. It grows with its box; nothing in it is measured.

const SVG = "http://www.w3.org/2000/svg";
const SECONDS = 60;
const WIDTH = 600;
const HEIGHT = 150;
const TOP = 8;

export class Plot {
  #points = [];
  #lines = {};
  #top;
  #labels = [];
  #box;

  constructor(box) {
    this.#box = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    const drawing = make("g", {});
    for (const share of [0, 0.5, 1]) {
      const y = HEIGHT - share * (HEIGHT - TOP);
      drawing.append(make("line", { class: "grid-line", x1: 0, x2: WIDTH, y1: y, y2: y }));
    }
    for (const name of ["out", "in"]) {
      this.#lines[name] = [make("path", { class: `area line-${name}` }), make("path", { class: `line-${name}`, "vector-effect": "non-scaling-stroke" })];
      drawing.append(...this.#lines[name]);
    }
    this.#box.append(drawing);
    box.append(this.#box);
    // Beside the drawing, which is stretched as text must not be.
    const scale = document.createElement("div");
    scale.className = "scale";
    scale.setAttribute("aria-hidden", "true");
    this.#labels = [document.createElement("span"), document.createElement("span")];
    scale.append(...this.#labels);
    box.append(scale);
    this.#draw();
  }

  add(received, sent) {
    const now = performance.now();
    this.#points.push({ at: now, in: received, out: sent });
    while (this.#points.length && now - this.#points[0].at > (SECONDS + 2) * 1000) this.#points.shift();
    this.#draw();
  }

  #draw() {
    const now = performance.now();
    const most = Math.max(...this.#points.map((point) => Math.max(point.in, point.out)), 0);
    this.#top = round(most);
    const x = (at) => WIDTH * (1 - (now - at) / (SECONDS * 1000));
    const y = (value) => HEIGHT - (value / this.#top) * (HEIGHT - TOP);
    for (const [name, [area, line]] of Object.entries(this.#lines)) {
      // A gap is where nothing came for a while: the line was lost.
      const runs = [];
      for (const point of this.#points) {
        const run = runs.at(-1);
        if (run && point.at - run.at(-1).at < 3000) run.push(point);
        else runs.push([point]);
      }
      const path = (run) => run.map((point) => `${x(point.at).toFixed(1)} ${y(point[name]).toFixed(1)}`).join("L");
      line.setAttribute("d", runs.map((run) => `M${path(run)}`).join(""));
      const ends = (run) => `V${HEIGHT}H${x(run[0].at).toFixed(1)}Z`;
      area.setAttribute("d", runs.map((run) => `M${path(run)}${ends(run)}`).join(""));
    }
    this.#labels[0].textContent = `${format(this.#top)}/s`;
    this.#labels[1].textContent = `${format(this.#top / 2)}`;
    const last = this.#points.at(-1);
    const text = last ? `${format(last.in)} received and ${format(last.out)} sent per second now` : "no figures yet";
    this.#box.setAttribute("aria-label", `Messages per second over the last minute: ${text}`);
  }
}

// The next of 1, 2, 5, 10, 20, 50 ... so that the scale stands still most of the time.
function round(most) {
  if (most <= 5) return 5;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most);
}

export function format(number) {
  if (number >= 1e6) return `${(number / 1e6).toFixed(1)}M`;
  if (number >= 1e4) return `${(number / 1e3).toFixed(number < 1e5 ? 1 : 0)}k`;
  return Number.isInteger(number) || number >= 100 ? String(Math.round(number)) : number.toFixed(1);
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
