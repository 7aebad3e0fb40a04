// A gridworld one can paint: its cells, keys and pointer. Shared by the painting widgets.

const CELL = 80; // SVG units
const MOVES = [[-1, 0], [0, 1], [1, 0], [0, -1]]; // up, right, down, left, as (row, column)
const WORDS = ["up", "right", "down", "left"];
const SEQUENTIAL = [[255, 253, 232], [207, 233, 198], [134, 203, 194], [79, 159, 212]];
const DIVERGING = [[229, 138, 43], [251, 220, 180], [255, 255, 255], [191, 217, 242], [79, 159, 212]];
const INK = "#1a1a1a";

function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function shade(stops, part) {
  const place = Math.min(Math.max(part, 0), 1) * (stops.length - 1);
  const index = Math.min(Math.floor(place), stops.length - 2);
  const mix = (channel) => Math.round(stops[index][channel]
    + (place - index) * (stops[index + 1][channel] - stops[index][channel]));
  return `rgb(${mix(0)}, ${mix(1)}, ${mix(2)})`;
}

// The same scale as the static pictures: white at 0 when both signs matter, else light to blue.
// Terminal cells stay white: they are worth 0, and would stretch the scale.
function colours(all, marks) {
  const values = all.filter((_, state) => !ending(marks[state]));
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (low < 0 && high > 0 && Math.min(-low, high) > 0.05 * (high - low)) {
    const reach = Math.max(-low, high);
    return (value) => shade(DIVERGING, (value + reach) / (2 * reach));
  }
  return (value) => shade(SEQUENTIAL, high > low ? (value - low) / (high - low) : 0.5);
}

const ending = (mark) => mark === "G" || mark === "X";

// An arrow at the cell's centre whose area is proportional to the probability.
function arrow([row, column], probability) {
  const scale = Math.sqrt(probability) * CELL;
  const start = (probability > 0.98 ? -0.14 : 0.05) * CELL;
  const along = [0, 0.5, 0.5, 1, 0.5, 0.5, 0].map((part) => start + part * 0.28 * scale);
  const across = [-0.35, -0.35, -1, 0, 1, 0.35, 0.35].map((part) => part * 0.11 * scale);
  const x = (i) => CELL / 2 + along[i] * column + across[i] * row;
  const y = (i) => CELL * 0.49 + along[i] * row - across[i] * column;
  return along.map((_, i) => `${x(i).toFixed(1)},${y(i).toFixed(1)}`).join(" ");
}

// One cell of the map: its SVG group, and how to show a painted number, a value and a policy row.
function buildCell(row, column, mark, hatch, { prefix, letter: short, word }) {
  const group = draw("g", {
    role: "gridcell", tabindex: -1, transform: `translate(${column * CELL} ${row * CELL})`,
    "data-testid": `${prefix}cell-${row}-${column}`,
  });
  const ground = draw("rect", {
    width: CELL, height: CELL, fill: hatch ? `url(#${hatch})` : "#fff", stroke: "#8a8a8a",
  });
  const ring = draw("rect", {
    class: "ring", x: 3, y: 3, width: CELL - 6, height: CELL - 6, fill: "none", stroke: INK,
    "stroke-width": 4,
  });
  const at = (x, y, size, anchor, extra = {}) => draw("text", {
    x, y, "font-size": size, "text-anchor": anchor, fill: INK, "aria-hidden": "true", ...extra,
  });
  const letter = at(5, 17, 15, "start", { "font-weight": "bold" });
  const reward = at(CELL - 5, 15, 12, "end");
  const value = at(CELL / 2, ending(mark) ? CELL * 0.58 : CELL - 6, 15, "middle");
  const arrows = draw("g", { fill: INK });
  letter.textContent = mark;
  group.append(ground, letter, reward, value, arrows, ring);
  const place = `row ${row}, column ${column}`;
  const kind = { S: ", start", G: ", goal", X: ", pit" }[mark] ?? "";
  if (hatch) group.setAttribute("aria-label", `${place}, wall`);
  return {
    group,
    show(paid, worth, chances, colour) {
      ground.setAttribute("fill", ending(mark) ? "#fff" : colour(worth));
      reward.textContent = paid ? `${short()} ${tidy(paid, 2).replace(/\.?0+$/, "")}` : "";
      value.textContent = tidy(worth, Math.abs(worth) >= 100 ? 0 : Math.abs(worth) >= 10 ? 1 : 2);
      arrows.replaceChildren(...(ending(mark) ? [] : chances.flatMap((chance, action) =>
        (chance > 0.02 ? [draw("polygon", { points: arrow(MOVES[action], chance) })] : []))));
      const best = chances.indexOf(Math.max(...chances));
      const move = ending(mark) ? "episode ends" : `${WORDS[best]} ${Math.round(100 * chances[best])} %`;
      group.setAttribute("aria-label",
        `${place}${kind}, ${word()} ${tidy(paid, 2)}, value ${value.textContent}, ${move}`);
    },
  };
}

// The empty map: an SVG with one hatch pattern for its walls, whose id is returned beside it.
function buildFrame(rows, columns, { prefix, name }) {
  const svg = draw("svg", {
    role: "grid", "aria-label": `${name}: arrow keys move, space paints`,
    viewBox: `-2 -2 ${columns * CELL + 4} ${rows * CELL + 4}`, "data-testid": `${prefix}painter-grid`,
    style: `max-width: ${Math.min(columns * CELL, 640)}px`,
    "font-family": "system-ui, DejaVu Sans, sans-serif",
  });
  const wall = unique("wall");
  const hatch = draw("pattern", {
    id: wall, width: 9, height: 9, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  });
  hatch.append(draw("rect", { width: 9, height: 9, fill: "#e4e4e4" }),
    draw("line", { y2: 9, stroke: "#6b6b6b", "stroke-width": 2 }));
  svg.append(hatch);
  return { svg, wall };
}

const REWARD_MAP = {
  prefix: "", name: "Map of the gridworld", letter: () => "r", word: () => "reward",
};

// The map as an ARIA grid: one tab stop, arrow keys inside.
function buildMap(model, { paint, brushBy }, look = REWARD_MAP) {
  const [rows, columns] = [model.get("rows"), model.get("cols")];
  const { svg, wall } = buildFrame(rows, columns, look);
  const states = new Map(model.get("cells").map(([row, column], s) => [`${row},${column}`, s]));
  const cells = [];
  for (let row = 0; row < rows; row += 1) {
    const line = draw("g", { role: "row" });
    for (let column = 0; column < columns; column += 1) {
      const state = states.get(`${row},${column}`);
      const mark = state === undefined ? "" : model.get("marks")[state];
      cells.push({ state, ...buildCell(row, column, mark, state === undefined ? wall : "", look) });
      line.append(cells.at(-1).group);
    }
    svg.append(line);
  }
  let current = Math.max(0, cells.findIndex((cell) => cell.state === model.get("starts")[0]));
  cells[current].group.setAttribute("tabindex", 0);
  const focus = (index) => {
    cells[current].group.setAttribute("tabindex", -1);
    current = index;
    cells[current].group.setAttribute("tabindex", 0);
    cells[current].group.focus({ preventScroll: true });
  };
  const fill = (index, reward) => {
    if (cells[index].state !== undefined) paint(cells[index].state, reward);
  };
  listenToKeys(svg, (key) => {
    const next = neighbour(key, current, columns, cells.length);
    if (next !== null) focus(next);
    else if (key === " " || key === "Enter") fill(current);
    else if (key === "Delete" || key === "Backspace") fill(current, 0);
    else if (key === "+" || key === "=") brushBy(1);
    else if (key === "-") brushBy(-1);
    else return false;
    return true;
  });
  listenToPointer(svg, rows, columns, (index) => {
    focus(index);
    fill(index);
  });
  return { svg, cells };
}

// The cell that an arrow key, Home or End leads to (at the border: the same); null for other keys.
function neighbour(key, index, columns, count) {
  const column = index % columns;
  switch (key) {
    case "ArrowUp": return index >= columns ? index - columns : index;
    case "ArrowDown": return index + columns < count ? index + columns : index;
    case "ArrowLeft": return column ? index - 1 : index;
    case "ArrowRight": return column + 1 < columns ? index + 1 : index;
    case "Home": return index - column;
    case "End": return index - column + columns - 1;
    default: return null;
  }
}

// Call `act(key)` for keys pressed in the map; those it does not use keep their usual effect.
function listenToKeys(svg, act) {
  svg.addEventListener("keydown", (event) => {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (plain && act(event.key)) event.preventDefault();
  });
}

// Call `touch(index)` for the cell pressed, and for each further one that the pointer is dragged over.
function listenToPointer(svg, rows, columns, touch) {
  let last = null;
  const cellAt = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(svg.getScreenCTM().inverse());
    const [row, column] = [Math.floor(point.y / CELL), Math.floor(point.x / CELL)];
    const inside = row >= 0 && row < rows && column >= 0 && column < columns;
    return inside ? row * columns + column : null;
  };
  const move = (event) => {
    const index = cellAt(event);
    if (index === null || index === last) return;
    last = index;
    touch(index);
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    last = null;
    move(event);
    svg.addEventListener("pointermove", move);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    svg.addEventListener(end, () => svg.removeEventListener("pointermove", move));
  }
}

