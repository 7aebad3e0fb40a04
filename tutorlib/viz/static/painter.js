// Paint rewards on a gridworld; Python answers with values and a policy.

// The four sliders, by the trait that each sets.
function buildSliders(put) {
  const two = (value) => tidy(value, 2);
  return new Map([
    ["brush", "Reward to paint (brush)", -2, 2, 0.1, (value) => tidy(value, 1)],
    ["discount", "Discount γ", 0, 0.99, 0.01, two],
    ["temperature", "Temperature λ", 0, 2, 0.05, (value) => (value ? two(value) : "0 (hard)")],
    ["slip", "Slip probability", 0, 0.8, 0.05, (value) => `${Math.round(100 * value)} %`],
  ].map(([name, label, low, high, step, text]) => [name, slider({
    name, label, low, high, step, text, onInput: (value) => put(name, value),
  })]));
}

function buildHelp() {
  const help = make("dl", {});
  for (const [term, text] of [
    ["In a cell", "r: reward for arriving; below: value; arrows: policy, area = probability"],
    ["Mouse", "click or drag over cells to paint"],
    ["Keyboard", "arrow keys move, space paints, + and − change the brush, Delete paints 0"],
  ]) help.append(make("dt", {}, term), make("dd", {}, text));
  return help;
}

function render({ model, el }) {
  const root = frame(el, "grid-painter");
  const send = debounce(25, () => model.save_changes());
  const put = (name, value) => {
    model.set(name, value);
    send();
  };
  const status = make("p", { "data-testid": "painter-status" });
  const spoken = make("p", { role: "status", class: "tutorlib-unseen" });
  const problem = make("p", {
    role: "alert", class: "tutorlib-problem", "data-testid": "painter-problem",
  });
  const say = (text) => { spoken.textContent = text; };
  const announce = debounce(500, () => say(status.textContent));
  const sliders = buildSliders(put);
  const map = buildMap(model, {
    paint(state, reward = model.get("brush")) {
      const rewards = [...model.get("cell_rewards")];
      rewards[state] = reward;
      put("cell_rewards", rewards);
    },
    brushBy(direction) {
      const value = Math.round(10 * (model.get("brush") + 0.1 * direction)) / 10;
      put("brush", Math.min(2, Math.max(-2, value)));
      say(`Brush ${tidy(model.get("brush"), 1)}`);
    },
  });
  const reset = make("button", { type: "button", "data-testid": "painter-reset" }, "Reset");
  reset.addEventListener("click", () => {
    for (const [name, value] of Object.entries(model.get("initial"))) model.set(name, value);
    put("message", "");
  });
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")),
    make("div", { class: "tutorlib-painter" }, map.svg,
      make("div", { class: "tutorlib-controls" },
        ...[...sliders.values()].map(({ row }) => row), reset, status, spoken, problem,
        buildHelp())));

  function refresh() {
    const { values, policy, status: text } = model.get("answer");
    for (const [name, { show }] of sliders) show(model.get(name));
    problem.textContent = model.get("message");
    if (text !== status.textContent) {
      status.textContent = text;
      announce();
    }
    const colour = colours(values, model.get("marks"));
    for (const { state, show } of map.cells) {
      if (state === undefined) continue;
      show(model.get("cell_rewards")[state], values[state], policy[state], colour);
    }
  }
  const watched = ["answer", "message", "cell_rewards", ...sliders.keys()]
    .map((name) => `change:${name}`).join(" ");
  refresh();
  model.on(watched, refresh);
  return () => model.off(watched, refresh);
}

export default { render };
