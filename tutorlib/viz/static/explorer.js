// Labelled sliders; Python answers with a picture or a text.

function render({ model, el }) {
  const root = frame(el, "explorer");
  root.classList.add("tutorlib-explorer");
  const send = debounce(40, () => model.save_changes());
  const controls = model.get("controls").map((control) => slider({
    name: control.name, label: control.label, low: 0, high: control.texts.length - 1, step: 1,
    text: (position) => control.texts[position],
    onInput: (position) => {
      model.set("positions", { ...model.get("positions"), [control.name]: position });
      root.setAttribute("aria-busy", "true");
      send();
    },
  }));
  const problem = make("p", { role: "alert", class: "tutorlib-problem", "data-testid": "explorer-problem" });
  const image = make("img", { "data-testid": "explorer-picture" });
  const text = make("pre", { "data-testid": "explorer-text" });
  const spoken = make("p", { role: "status", class: "tutorlib-unseen" });
  const announce = debounce(700, () => { spoken.textContent = model.get("answer").alt || text.textContent; });
  const title = model.get("title");
  if (title) root.append(make("p", { class: "tutorlib-title" }, title));
  root.append(...controls.map((control) => control.row), problem, image, text, spoken);

  function move() {
    model.get("controls").forEach((control, index) =>
      controls[index].show(model.get("positions")[control.name]));
  }
  function show() {
    const answer = model.get("answer");
    root.setAttribute("aria-busy", "false");
    problem.textContent = answer.problem ?? "";
    image.hidden = !answer.src;
    text.hidden = !answer.text;
    text.textContent = answer.text ?? "";
    if (answer.src) {
      image.alt = answer.alt;
      image.src = answer.src;
      if (answer.width) image.width = answer.width;
    }
  }
  const update = () => {
    show();
    announce();
  };
  move();
  show();
  model.on("change:positions", move);
  model.on("change:answer", update);
  return () => {
    model.off("change:positions", move);
    model.off("change:answer", update);
  };
}

export default { render };
