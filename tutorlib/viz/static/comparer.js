// Two walks side by side, three answers, and the map that the answers add up to.

const SIDE = 46; // SVG units per cell
const LOW = [229, 138, 43];
const HIGH = [79, 159, 212];
const SPOTS = [[0.27, 0.27], [0.73, 0.27], [0.73, 0.73], [0.27, 0.73], [0.5, 0.5]]; // of visits to a cell
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "same" };

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

function render({ model, el }) {
  const root = frame(el, "walk-comparer");
  const heading = make("p", { "data-testid": "comparer-pair" });
  const walks = make("div", { class: "tutorlib-walks" });
  const map = make("div", { class: "tutorlib-walks" });
  const status = make("p", { role: "status", "data-testid": "comparer-status" });
  const problem = make("p", { role: "alert", class: "tutorlib-problem" });
  const judge = (choice) => {
    const choices = [...model.get("choices")];
    choices[model.get("shown")] = choice;
    const open = choices.indexOf(null);
    model.set("choices", choices);
    // here and not only in Python: a second answer may come before Python has replied to the first
    model.set("shown", open < 0 ? choices.length - 1 : open);
    model.save_changes();
  };
  const move = (by) => {
    const last = model.get("pairs").length - 1;
    model.set("shown", Math.min(Math.max(model.get("shown") + by, 0), last));
    model.save_changes();
  };
  const button = (text, testid, act) => {
    const made = make("button", { type: "button", "data-testid": testid }, text);
    made.addEventListener("click", act);
    return made;
  };
  const answers = new Map([
    ["left", button("\u2190 Left is better", "judge-left", () => judge("left"))],
    ["same", button("\u2193 About the same", "judge-same", () => judge("same"))],
    ["right", button("Right is better \u2192", "judge-right", () => judge("right"))],
  ]);
  const row = make("div", { class: "tutorlib-answers", role: "group", "aria-label": "Your answer" },
    ...answers.values());
  row.addEventListener("keydown", (event) => {
    const choice = KEYS[event.key];
    if (!choice || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    judge(choice);
    answers.get(choice).focus();
  });
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")), heading, walks, row,
    make("div", { class: "tutorlib-answers" },
      button("Back", "comparer-back", () => move(-1)), button("Skip", "comparer-skip", () => move(1)),
      button("Forget all answers", "comparer-forget", () => {
        model.set("choices", model.get("choices").map(() => null));
        model.save_changes();
      })),
    make("p", {}, "Keyboard: Tab to the answers, then \u2190, \u2193 or \u2192. S is where a walk starts, "
      + "numbers count its steps."), status, problem, map);

  function refresh() {
    const [shown, pairs] = [model.get("shown"), model.get("pairs")];
    const chosen = model.get("choices")[shown];
    heading.textContent = `Pair ${shown + 1} of ${pairs.length}${chosen ? `: you said ${chosen}` : ""}`;
    walks.replaceChildren(...["Left", "Right"].map((side, i) => make("figure", {},
      drawWalk(model, pairs[shown][i], side), make("figcaption", {}, side))));
    for (const [name, element] of answers) element.setAttribute("aria-pressed", String(name === chosen));
    status.textContent = model.get("answer").status;
    problem.textContent = model.get("message");
    map.replaceChildren(make("figure", {}, drawMap(model),
      make("figcaption", {}, "What your answers say: fitted reward for arriving in a cell")));
  }
  const watched = "change:answer change:choices change:shown change:message";
  refresh();
  model.on(watched, refresh);
  return () => model.off(watched, refresh);
}

export default { render };
