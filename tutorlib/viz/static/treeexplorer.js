// A tree as a treegrid: one row per word, arrow keys open, close and move (the WAI-ARIA pattern).

function render({ model, el }) {
  const root = frame(el, "tree-explorer");
  const status = make("p", { role: "status", "data-testid": "tree-status" });
  const problem = make("p", { role: "alert", class: "tutorlib-problem" });
  const body = make("tbody", {});
  const names = model.get("policies");
  const heads = ["answer so far", ...names, "Q", "V", "hidden"];
  const grid = make("table", { role: "treegrid", class: "tutorlib-tree", "aria-label": model.get("title") },
    make("thead", {}, make("tr", { role: "row" },
      ...heads.map((head) => make("th", { role: "columnheader", scope: "col" }, head)))), body);
  let current = ""; // path of the row with the one tab stop
  const key = (path) => path.join(".");
  const rows = () => model.get("answer").rows;
  const row = (path) => rows().find((one) => key(one.path) === path);

  function toggle(one, open) {
    if (one.open === null || one.open === open) return false;
    const opened = model.get("opened").filter((path) => key(path) !== key(one.path));
    model.set("opened", open ? [...opened, one.path] : opened);
    model.save_changes();
    return true;
  }

  function focus(path) {
    current = path;
    for (const element of body.children) element.tabIndex = element.dataset.path === path ? 0 : -1;
    [...body.children].find((element) => element.dataset.path === path)?.focus();
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const all = rows();
    const at = all.findIndex((one) => key(one.path) === current);
    const here = all[at];
    if (!here) return;
    const go = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (go !== undefined) {
      focus(key(all[Math.min(Math.max(go, 0), all.length - 1)].path));
    } else if (event.key === "ArrowRight") {
      if (!toggle(here, true) && here.open && all[at + 1]?.level > here.level) focus(key(all[at + 1].path));
    } else if (event.key === "ArrowLeft") {
      if (!toggle(here, false) && here.path.length) focus(key(here.path.slice(0, -1)));
    } else if (event.key === "Enter" || event.key === " ") {
      toggle(here, !here.open);
    } else return;
    event.preventDefault();
  }
  grid.addEventListener("keydown", press);

  const bar = (share) => {
    const cell = make("td", { role: "gridcell" });
    if (share === undefined) return cell;
    const text = share > 0 && share < 0.0005 ? "<0.001" : tidy(share, 3);
    const fill = make("span", { class: "bar", "aria-hidden": "true" });
    fill.style.width = `${(4 * share).toFixed(3)}em`;
    cell.append(make("span", { class: "number" }, text), fill);
    return cell;
  };
  const value = (x) => make("td", { role: "gridcell", class: "number" }, x === null ? "" : tidy(x, 3));

  function draw(one) {
    const sign = one.open === null ? "\u00b7" : one.open ? "\u25be" : "\u25b8";
    const word = make("th", { role: "rowheader", scope: "row" },
      make("span", { class: "sign", "aria-hidden": "true" }, sign), one.word);
    word.style.paddingLeft = `${0.4 + 1.3 * (one.level - 1)}em`;
    const made = make("tr", {
      role: "row", "aria-level": one.level, "aria-posinset": one.place, "aria-setsize": one.of,
      "aria-label": one.said, "data-path": key(one.path), "data-testid": `node-${key(one.path)}`,
      tabindex: key(one.path) === current ? 0 : -1,
    }, word, ...names.map((name) => bar(one.chances[name])), value(one.q), value(one.v),
    make("td", { role: "gridcell", class: "number" }, one.pruned ? String(one.pruned) : ""));
    if (one.open !== null) made.setAttribute("aria-expanded", String(one.open));
    made.addEventListener("click", () => {
      focus(key(one.path));
      toggle(one, !one.open);
    });
    return made;
  }

  function refresh() {
    const held = body.contains(document.activeElement);
    while (current && !row(current)) current = current.split(".").slice(0, -1).join(".");
    body.replaceChildren(...rows().map(draw));
    if (held) focus(current);
    status.textContent = model.get("answer").status;
    problem.textContent = model.get("message");
    prune.show(model.get("pruning"));
    price?.show(model.get("position"));
  }

  const controls = model.get("controls");
  const set = (name) => (position) => {
    model.set(name, position);
    model.save_changes();
  };
  const prune = slider({
    name: "prune", label: "Hide what is rarer than", low: 0, high: controls.thresholds.length - 1,
    step: 1, text: (position) => controls.thresholds[position], onInput: set("pruning"),
  });
  const price = controls.price && slider({
    name: "price", label: controls.price, low: 0, high: controls.texts.length - 1, step: 1,
    text: (position) => controls.texts[position], onInput: set("position"),
  });
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")),
    ...(price ? [price.row] : []), prune.row, grid,
    make("p", {}, "Keyboard: Tab to the tree; \u2191 \u2193 move, \u2192 opens, \u2190 closes or goes back, "
      + "Enter does either. \u00b7 marks a finished answer."), status, problem);
  const watched = "change:answer change:message";
  refresh();
  model.on(watched, refresh);
  return () => model.off(watched, refresh);
}

export default { render };
