// Draw walks on a gridworld; Python answers with the reward that explains them.

const STROKES = ["#0b64a8", "#a5430a", "#6a3d9a", "#22704f"];
const DASHES = ["", "14 5", "4 5", "14 4 4 4"];
const STEPS = { ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowDown: [1, 0], ArrowLeft: [0, -1] };

// Where each state's cell is, and which state is in a cell.
function readMap(model) {
  const cells = model.get("cells");
  const states = new Map(cells.map(([row, column], s) => [`${row},${column}`, s]));
  const marks = model.get("marks");
  return {
    cells, marks, ends: (state) => ending(marks[state]),
    stateAt: (row, column) => states.get(`${row},${column}`),
    beside(state, [down, right]) {
      const [row, column] = cells[state];
      return states.get(`${row + down},${column + right}`);
    },
  };
}

// The states between two cells, first along the row, then along the column; null if a wall is there.
function route(map, from, to) {
  const path = [];
  let here = from;
  while (here !== to) {
    const [row, column] = map.cells[here];
    const [toRow, toColumn] = map.cells[to];
    const step = column !== toColumn ? [0, Math.sign(toColumn - column)]
      : [Math.sign(toRow - row), 0];
    here = map.beside(here, step);
    if (here === undefined) return null;
    path.push(here);
    if (map.ends(here) && here !== to) return null;
  }
  return path;
}

// A walk as a line with a dot where it begins and a square where it is now.
function drawWalk(map, walk, index, last) {
  const shift = (0.13 + 0.045 * (index % 4)) * CELL; // up and left of numbers and arrows
  const at = (state) => [map.cells[state][1] * CELL + shift, map.cells[state][0] * CELL + shift];
  const points = walk.map((state) => at(state).join(",")).join(" ");
  const colour = STROKES[index % STROKES.length];
  const line = (attributes) => draw("polyline", {
    points, fill: "none", "stroke-linejoin": "round", "stroke-linecap": "round", ...attributes,
  });
  const [x, y] = at(walk[0]);
  const [endX, endY] = at(walk.at(-1));
  const half = last ? 8 : 5;
  return [
    line({ stroke: "#fff", "stroke-width": 9 }),
    line({ stroke: colour, "stroke-width": 4, "stroke-dasharray": DASHES[index % DASHES.length] }),
    draw("circle", { cx: x, cy: y, r: 6, fill: "#fff", stroke: colour, "stroke-width": 3 }),
    draw("rect", { x: endX - half, y: endY - half, width: 2 * half, height: 2 * half,
      fill: colour, stroke: "#fff", "stroke-width": 2 }),
  ];
}

// The map that is drawn on: reward as ground and number, policy as arrows, walks as lines.
function buildPad(model, map, pen) {
  const [rows, columns] = [model.get("rows"), model.get("cols")];
  const { svg, wall } = buildFrame(rows, columns, { prefix: "pad-", name: "Map to draw on" });
  svg.setAttribute("aria-label", "Map to draw on: arrow keys extend the walk, Backspace takes a step back");
  const look = { prefix: "pad-", letter: () => "", word: () => "" };
  const groups = [];
  for (let row = 0; row < rows; row += 1) {
    const line = draw("g", { role: "row" });
    for (let column = 0; column < columns; column += 1) {
      const state = map.stateAt(row, column);
      const cell = buildCell(row, column, state === undefined ? "" : map.marks[state],
        state === undefined ? wall : "", look);
      if (state !== undefined) groups[state] = cell;
      line.append(cell.group);
    }
    svg.append(line);
  }
  const overlay = draw("g", { "pointer-events": "none", "aria-hidden": "true" });
  svg.append(overlay);
  let fresh = false; // whether the pointer has just been pressed
  svg.addEventListener("pointerdown", () => { fresh = true; });
  listenToPointer(svg, rows, columns, (index) => {
    const state = map.stateAt(Math.floor(index / columns), index % columns);
    if (state !== undefined) pen.drag(state, fresh);
    fresh = false;
  });
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (pen.key(event.key, event.shiftKey)) event.preventDefault();
  });
  let tabStop = 0;
  return {
    svg,
    show({ reward, policy }, walks) {
      const colour = colours(reward, map.marks.map(() => ""));
      groups.forEach(({ group, show }, state) => {
        show(0, reward[state], policy[state], colour);
        const [row, column] = map.cells[state];
        const passed = walks.filter((walk) => walk.includes(state)).length;
        const best = policy[state].indexOf(Math.max(...policy[state]));
        group.setAttribute("aria-label", `row ${row}, column ${column}, learned reward `
          + `${tidy(reward[state], 2)}, ${WORDS[best]} ${Math.round(100 * policy[state][best])} %, `
          + `on ${passed} of ${walks.length} walks`);
      });
      overlay.replaceChildren(...walks.flatMap((walk, i) =>
        drawWalk(map, walk, i, i === walks.length - 1)));
    },
    focus(state, grab) {
      groups[tabStop].group.setAttribute("tabindex", -1);
      tabStop = state;
      groups[tabStop].group.setAttribute("tabindex", 0);
      if (grab) groups[tabStop].group.focus({ preventScroll: true });
    },
  };
}

// The map beside it: visits of the learned policy as ground, those of the walks as circles.
function buildVisits(model, map) {
  const [rows, columns] = [model.get("rows"), model.get("cols")];
  const { svg, wall } = buildFrame(rows, columns, { prefix: "visits-", name: "Visits" });
  svg.setAttribute("role", "img");
  const cells = map.cells.map(([row, column]) => {
    const group = draw("g", { transform: `translate(${column * CELL} ${row * CELL})` });
    const ground = draw("rect", { width: CELL, height: CELL, fill: "#fff", stroke: "#8a8a8a" });
    const disc = draw("circle", { cx: CELL / 2, cy: CELL * 0.42, fill: "none", stroke: INK,
      "stroke-width": 3 });
    const text = draw("text", { x: CELL / 2, y: CELL - 6, "font-size": 15, "text-anchor": "middle",
      fill: INK });
    group.append(ground, disc, text);
    return { group, ground, disc, text };
  });
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      if (map.stateAt(row, column) !== undefined) continue;
      svg.append(draw("rect", { x: column * CELL, y: row * CELL, width: CELL, height: CELL,
        fill: `url(#${wall})`, stroke: "#8a8a8a" }));
    }
  }
  svg.append(...cells.map(({ group }) => group));
  return {
    svg,
    show({ visits, shown }) {
      const most = Math.max(1, ...visits, ...shown);
      visits.forEach((expected, state) => {
        const { ground, disc, text } = cells[state];
        ground.setAttribute("fill", shade(SEQUENTIAL, expected / most));
        disc.setAttribute("r", (Math.sqrt(shown[state] / most) * CELL * 0.34).toFixed(1));
        disc.setAttribute("visibility", shown[state] ? "visible" : "hidden");
        text.textContent = `${tidy(shown[state], 1)} | ${tidy(expected, 1)}`;
      });
      const off = visits.map((v, s) => Math.abs(v - shown[s]));
      const worst = off.indexOf(Math.max(...off));
      const [row, column] = map.cells[worst];
      svg.setAttribute("aria-label", "Visits of each cell, shown and by the learned policy. They "
        + `differ most at row ${row}, column ${column}: ${tidy(shown[worst], 1)} shown, `
        + `${tidy(visits[worst], 1)} by the policy.`);
    },
  };
}

// What pointer, keys and buttons do to the walks; `put` sends them, `say` speaks.
function buildPen(model, map, put, say) {
  const [mostWalks, mostSteps] = model.get("limits");
  const walks = () => model.get("walks").map((walk) => [...walk]);
  const home = () => model.get("starts")[0];
  const where = (walk) => {
    const [row, column] = map.cells[walk.at(-1)];
    return `${walk.length - 1} step${walk.length === 2 ? "" : "s"}, at row ${row}, column ${column}`;
  };
  const keep = (all) => {
    put(all);
    say(`Walk ${all.length}: ${where(all.at(-1))}.`);
  };
  const begin = (state) => {
    const all = walks();
    if (all.at(-1).length === 1) all.pop(); // an empty walk moves
    if (all.length >= mostWalks) return say(`There are ${mostWalks} walks, which is the most.`);
    return keep([...all, [state]]);
  };
  const extend = (path) => {
    const all = walks();
    const last = all.at(-1);
    if (map.ends(last.at(-1))) return say("The episode is over here. Begin a new walk.");
    if (last.length + path.length > mostSteps + 1) return say(`A walk has at most ${mostSteps} steps.`);
    last.push(...path);
    return keep(all);
  };
  const undo = () => {
    const all = walks();
    if (all.at(-1).length > 1) all.at(-1).pop();
    else if (all.length > 1) all.pop();
    keep(all);
  };
  const remove = () => {
    const all = walks().slice(0, -1);
    keep(all.length ? all : [[home()]]);
  };
  const key = (name, shift) => {
    const end = model.get("walks").at(-1).at(-1);
    if (name in STEPS) {
      const next = map.beside(end, STEPS[name]);
      if (next === undefined) say("A wall or the border is there.");
      else if (shift) begin(next);
      else extend([next]);
    } else if (name === "Backspace") undo();
    else if (name === "Delete") remove();
    else if (name === "n" || name === "N" || name === "Enter") begin(home());
    else return false;
    return true;
  };
  const drag = (state, pressed) => {
    const end = model.get("walks").at(-1).at(-1);
    if (pressed && state !== end) begin(state);
    else if (state !== end) {
      const path = route(map, end, state);
      if (path) extend(path);
    }
  };
  return { begin: () => begin(home()), undo, remove, key, drag };
}

function buildPadHelp() {
  const help = make("dl", {});
  for (const [term, text] of [
    ["Left", "ground and number: learned reward for arriving; arrows: its policy; lines: walks"],
    ["Right", "circle and first number: visits shown; ground and second number: the policy's"],
    ["Mouse", "drag from a cell to begin a walk; drag from the square to go on"],
    ["Keyboard", "arrow keys extend the walk, Backspace takes a step back, N begins a new one at "
      + "the start, Shift with an arrow moves its beginning, Delete removes it"],
  ]) help.append(make("dt", {}, term), make("dd", {}, text));
  return help;
}

// Send changes one at a time: while Python fits, further ones are gathered. `done` ends the wait.
function oneAtATime(model) {
  let since = 0; // when the last change was sent, 0 when it is answered
  let more = false;
  const send = () => {
    if (since && Date.now() - since < 1500) {
      if (!more) setTimeout(() => more && send(), 1600); // in case no answer comes
      more = true;
      return;
    }
    [since, more] = [Date.now(), false];
    model.save_changes();
  };
  const done = () => {
    since = 0;
    if (more) send();
  };
  return { send: debounce(15, send), done };
}

function render({ model, el }) {
  const root = frame(el, "demonstration-pad");
  const map = readMap(model);
  const { send, done } = oneAtATime(model);
  const status = make("p", { "data-testid": "pad-status" });
  const spoken = make("p", { role: "status", class: "tutorlib-unseen" });
  const problem = make("p", {
    role: "alert", class: "tutorlib-problem", "data-testid": "pad-problem",
  });
  const say = (text) => { spoken.textContent = text; };
  const announce = debounce(900, () => say(status.textContent));
  const put = (walks) => {
    model.set("walks", walks);
    send();
  };
  const pen = buildPen(model, map, put, say);
  const pad = buildPad(model, map, pen);
  const visits = buildVisits(model, map);
  const button = (name, text, act) => {
    const made = make("button", { type: "button", "data-testid": `pad-${name}` }, text);
    made.addEventListener("click", act);
    return made;
  };
  const side = (caption, svg) => make("div", { class: "tutorlib-side" }, make("p", {}, caption), svg);
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")),
    make("div", { class: "tutorlib-painter tutorlib-two" },
      side("Draw here: learned reward and policy", pad.svg),
      side("Visits: shown | learned policy", visits.svg)),
    make("p", { class: "tutorlib-buttons" },
      button("undo", "Step back", pen.undo), button("new", "New walk", pen.begin),
      button("remove", "Remove walk", pen.remove),
      button("reset", "Reset", () => put(model.get("initial").map((walk) => [...walk])))),
    status, spoken, problem, buildPadHelp());

  function refresh() {
    const answer = model.get("answer");
    const walks = model.get("walks");
    problem.textContent = model.get("message");
    if (answer.status !== status.textContent) {
      status.textContent = answer.status;
      announce();
    }
    pad.show(answer, walks);
    pad.focus(walks.at(-1).at(-1), pad.svg.contains(document.activeElement));
    visits.show(answer);
  }
  const watched = "change:answer change:walks change:message";
  const answered = "change:answer change:message";
  refresh();
  model.on(watched, refresh);
  model.on(answered, done);
  return () => {
    model.off(watched, refresh);
    model.off(answered, done);
  };
}

export default { render };
