// Two painted gridworlds side by side: a reward, and a potential or a second reward.

const KINDS = new Map([
  ["potential", "a potential Φ: the right map plans for the shaped reward"],
  ["reward", "a second reward: the right map plans for it alone"],
]);

// Radio buttons for what the right map holds.
function buildKinds(model, put) {
  const group = unique("kind");
  const inputs = new Map();
  const box = make("fieldset", { "data-testid": "two-kind" },
    make("legend", {}, "On the right you paint"));
  for (const [kind, text] of KINDS) {
    const id = unique(kind);
    const input = make("input", { type: "radio", name: group, id, "data-testid": `kind-${kind}` });
    input.addEventListener("change", () => put("kind", kind));
    inputs.set(kind, input);
    box.append(make("div", { class: "tutorlib-option" }, input, make("label", { for: id }, text)));
  }
  return { box, show: () => inputs.forEach((input, kind) => {
    input.checked = model.get("kind") === kind;
  }) };
}

// A checkbox for the potential of terminal cells.
function buildEnds(model, put) {
  const id = unique("ends");
  const input = make("input", { type: "checkbox", id, "data-testid": "two-ends" });
  input.addEventListener("change", () => put("hold_ends", input.checked));
  return { row: make("div", { class: "tutorlib-option" }, input,
    make("label", { for: id }, "hold Φ at 0 where episodes end")),
  show: () => { input.checked = model.get("hold_ends"); } };
}

function buildTwoHelp() {
  const help = make("dl", {});
  for (const [term, text] of [
    ["In a cell", "r, Φ: what you painted; below: value; arrows: policy, area = probability"],
    ["Mouse", "click or drag over cells to paint"],
    ["Keyboard", "Tab changes map, arrow keys move, space paints, + and − change the brush"],
  ]) help.append(make("dt", {}, term), make("dd", {}, text));
  return help;
}

function render({ model, el }) {
  const root = frame(el, "two-rewards");
  const send = debounce(25, () => model.save_changes());
  const put = (name, value) => {
    model.set(name, value);
    send();
  };
  const verdicts = make("ul", { "data-testid": "two-verdicts" });
  const spoken = make("p", { role: "status", class: "tutorlib-unseen" });
  const problem = make("p", {
    role: "alert", class: "tutorlib-problem", "data-testid": "two-problem",
  });
  const announce = debounce(500, () => { spoken.textContent = model.get("answer").verdicts.join(" "); });
  const potential = () => model.get("kind") === "potential";
  const actions = (trait) => ({
    paint(state, number = model.get("brush")) {
      const painted = [...model.get(trait)];
      painted[state] = number;
      put(trait, painted);
    },
    brushBy(direction) {
      const value = Math.round(10 * (model.get("brush") + 0.5 * direction)) / 10;
      put("brush", Math.min(10, Math.max(-10, value)));
      spoken.textContent = `Brush ${tidy(model.get("brush"), 1)}`;
    },
  });
  const maps = {
    left: buildMap(model, actions("first"), {
      prefix: "left-", name: "Left map, reward", letter: () => "r", word: () => "reward" }),
    right: buildMap(model, actions("second"), {
      prefix: "right-", name: "Right map, potential or second reward",
      letter: () => (potential() ? "Φ" : "r"), word: () => (potential() ? "potential" : "reward") }),
  };
  const kinds = buildKinds(model, put);
  const ends = buildEnds(model, put);
  const sliders = new Map([
    ["brush", "Number to paint (brush)", -10, 10, 0.5, (value) => tidy(value, 1)],
    ["temperature", "Temperature λ", 0, 2, 0.05, (value) => (value ? tidy(value, 2) : "0 (hard)")],
  ].map(([name, label, low, high, step, text]) => [name, slider({
    name, label, low, high, step, text, onInput: (value) => put(name, value),
  })]));
  const reset = make("button", { type: "button", "data-testid": "two-reset" }, "Reset");
  reset.addEventListener("click", () => {
    for (const [name, value] of Object.entries(model.get("initial"))) model.set(name, value);
    put("message", "");
  });
  const captions = { left: make("p", {}, "Left: reward"), right: make("p", {}) };
  const side = (name) => make("div", { class: "tutorlib-side" }, captions[name], maps[name].svg);
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")),
    make("div", { class: "tutorlib-painter tutorlib-two" }, side("left"), side("right")),
    make("div", { class: "tutorlib-painter" },
      make("div", { class: "tutorlib-controls" }, verdicts, spoken, problem, kinds.box, ends.row),
      make("div", { class: "tutorlib-controls" },
        ...[...sliders.values()].map(({ row }) => row), reset, buildTwoHelp())));

  function refresh() {
    const answer = model.get("answer");
    for (const [name, { show }] of sliders) show(model.get(name));
    kinds.show();
    ends.show();
    ends.row.hidden = !potential();
    problem.textContent = model.get("message");
    captions.right.textContent = potential() ? "Right: reward shaped by Φ" : "Right: second reward";
    const lines = answer.verdicts.map((text) => make("li", {}, text));
    if (answer.verdicts.join(" ") !== verdicts.textContent) announce();
    verdicts.replaceChildren(...lines);
    for (const [name, trait] of [["left", "first"], ["right", "second"]]) {
      const { values, policy } = answer[name];
      const colour = colours(values, model.get("marks"));
      for (const { state, show } of maps[name].cells) {
        if (state === undefined) continue;
        show(model.get(trait)[state], values[state], policy[state], colour);
      }
    }
  }
  const watched = ["answer", "message", "first", "second", "kind", "hold_ends", ...sliders.keys()]
    .map((name) => `change:${name}`).join(" ");
  refresh();
  model.on(watched, refresh);
  return () => model.off(watched, refresh);
}

export default { render };
