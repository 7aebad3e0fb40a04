// Two walks side by side, three answers, and the map that the answers add up to.

const SIDE = 46; // SVG units per cell
const LOW = [229, 138, 43];
const HIGH = [79, 159, 212];
const SPOTS = [[0.27, 0.27], [0.73, 0.27], [0.73, 0.73], [0.27, 0.73], [0.5, 0.5]]; // of visits to a cell

function svgElement(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Orange over white to blue, as in the static pictures.
function tint(part) {
  const goal = part < 0 ? LOW : HIGH;
  const mix = (channel) => Math.round(255 + Math.min(Math.abs(part), 1) * (goal[channel] - 255));
  return `rgb(${mix(0)}, ${mix(1)}, ${mix(2)})`;
}

// An empty map; `fill(state)` gives each free cell's colour.
function board(model, label, fill) {
  const [rows, columns] = [model.get("rows"), model.get("cols")];
  const svg = svgElement("svg", {
    role: "img", "aria-label": label, viewBox: `-1 -1 ${columns * SIDE + 2} ${rows * SIDE + 2}`,
    "font-family": "system-ui, DejaVu Sans, sans-serif",
  });
  svg.append(svgElement("rect", { width: columns * SIDE, height: rows * SIDE, fill: "#9a9a9a" }));
  model.get("cells").forEach(([row, column], state) => svg.append(svgElement("rect", {
    x: column * SIDE, y: row * SIDE, width: SIDE, height: SIDE, fill: fill(state), stroke: "#8a8a8a",
  })));
  return svg;
}

const words = (model, walk) => walk.map((state) => `(${model.get("cells")[state].join(", ")})`).join(", ");

// A walk: numbered stops; each visit of a cell has its own spot in it.
function drawWalk(model, walk, side) {
  const svg = board(model, `${side} walk, row and column: ${words(model, walk)}`, () => "#fff");
  const seen = new Map();
  const points = walk.map((state) => {
    const [row, column] = model.get("cells")[state];
    const visit = seen.get(state) ?? 0;
    seen.set(state, visit + 1);
    const [x, y] = SPOTS[visit % SPOTS.length];
    return [(column + x) * SIDE, (row + y) * SIDE];
  });
  svg.append(svgElement("polyline", {
    points: points.map((p) => p.join(",")).join(" "), fill: "none", stroke: "#0b64a8", "stroke-width": 3,
  }));
  points.forEach(([x, y], time) => {
    svg.append(svgElement("circle", {
      cx: x, cy: y, r: 9, fill: time ? "#0b64a8" : "#fff", stroke: "#0b64a8", "stroke-width": 2,
    }), svgElement("text", {
      x, y: y + 4, "font-size": 11, "text-anchor": "middle", fill: time ? "#fff" : "#1a1a1a",
    }, time ? String(time) : "S"));
  });
  return svg;
}

function drawMap(model) {
  const { values, status } = model.get("answer");
  const reach = Math.max(...values.map(Math.abs)) || 1;
  const svg = board(model, `Fitted reward. ${status}`, (state) => tint(values[state] / reach));
  model.get("cells").forEach(([row, column], state) => svg.append(svgElement("text", {
    x: (column + 0.5) * SIDE, y: (row + 0.58) * SIDE, "font-size": 13, "text-anchor": "middle",
    fill: "#1a1a1a",
  }, tidy(values[state], 1))));
  return svg;
}

const drawPair = (model, index) => make("div", { class: "tutorlib-walks" },
  ...["Left", "Right"].map((side, i) => make("figure", {},
    drawWalk(model, model.get("pairs")[index][i], side), make("figcaption", {}, side))));

const drawResult = (model) => make("div", { class: "tutorlib-walks" }, make("figure", {}, drawMap(model),
  make("figcaption", {}, "What your answers say: fitted reward for arriving in a cell")));

const render = (view) => renderJudge(view, {
  name: "walk-comparer",
  answers: [
    ["left", "ArrowLeft", "\u2190 Left is better"],
    ["same", "ArrowDown", "\u2193 About the same"],
    ["right", "ArrowRight", "Right is better \u2192"],
  ],
  others: [
    ["Back", "comparer-back", ({ move }) => move(-1)],
    ["Skip", "comparer-skip", ({ move }) => move(1)],
    ["Forget all answers", "comparer-forget", ({ forget }) => forget()],
  ],
  help: "Keyboard: Tab to the answers, then \u2190, \u2193 or \u2192; Backspace takes the last answer back. "
    + "S is where a walk starts, numbers count its steps.",
  drawPair,
  drawResult,
});

export default { render };
