// A prediction: choosing stores it at once; there is no right or wrong yet.

function render({ model, el }) {
  const root = frame(el, "prediction");
  const group = unique("prediction");
  const inputs = model.get("options").map((option, index) => {
    const input = make("input", {
      type: "radio", name: group, id: `${group}-${index}`, "data-testid": `option-${index}`,
    });
    input.addEventListener("change", () => {
      model.set("chosen", option);
      model.save_changes();
    });
    return input;
  });
  const saved = make("p", { role: "status", "data-testid": "prediction-saved" });
  const notice = make("p", { role: "alert", class: "tutorlib-problem" });
  root.append(make("fieldset", {},
    make("legend", {}, ...rich(model.get("question"))),
    ...model.get("options").map((option, index) => make("div", { class: "tutorlib-option" },
      inputs[index], make("label", { for: `${group}-${index}` }, ...rich(option)))),
    saved, notice));
  function refresh() {
    const chosen = model.get("chosen");
    inputs.forEach((input, index) => { input.checked = model.get("options")[index] === chosen; });
    saved.textContent = chosen ? `Kept: ${chosen}. The end of the lesson shows it beside the outcome.` : "";
    notice.textContent = model.get("notice");
  }
  refresh();
  model.on("change:chosen change:notice", refresh);
  return () => model.off("change:chosen change:notice", refresh);
}

export default { render };
