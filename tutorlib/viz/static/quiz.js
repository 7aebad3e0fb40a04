// A quiz: choose, press Answer, read why. Wrong answers may be tried again.

function buildQuestion(model, index, question) {
  const group = unique("quiz");
  const feedback = make("div", {
    class: "tutorlib-feedback", role: "status", "data-testid": `feedback-${index}`,
  });
  const button = make("button", { type: "button", "data-testid": `answer-${index}`, disabled: "" }, "Answer");
  const inputs = question.options.map((_, option) => {
    const input = make("input", {
      type: "radio", name: group, value: option, id: `${group}-${option}`,
      "data-testid": `option-${index}-${option}`,
    });
    input.addEventListener("change", () => { button.disabled = false; });
    return input;
  });
  button.addEventListener("click", () => {
    const choices = [...model.get("choices")];
    choices[index] = inputs.findIndex((input) => input.checked);
    model.set("choices", choices);
    model.save_changes();
  });
  const options = question.options.map((option, place) => make("div", { class: "tutorlib-option" },
    inputs[place], make("label", { for: `${group}-${place}` }, ...rich(option))));
  const legend = make("legend", {}, `${index + 1}. `, ...rich(question.prompt));
  const field = make("fieldset", { "data-testid": `question-${index}` },
    legend, ...options, button, feedback);
  return {
    field,
    show(choice) {
      if (choice === null || choice === undefined) {
        feedback.replaceChildren();
        return;
      }
      const right = choice === question.answer;
      inputs[choice].checked = true;
      button.disabled = false;
      button.textContent = right ? "Answered" : "Answer again";
      feedback.replaceChildren(
        make("strong", {}, right ? "\u2713 Right." : "\u2717 Not this one."),
        ...rich(question.explanations[choice]));
    },
  };
}

function render({ model, el }) {
  const root = frame(el, "quiz");
  const questions = model.get("questions");
  const parts = questions.map((question, index) => buildQuestion(model, index, question));
  const score = make("p", { role: "status", "data-testid": "quiz-score" });
  const notice = make("p", { role: "alert", class: "tutorlib-problem" });
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")),
    ...parts.map((part) => part.field), score, notice);
  let shown = questions.map(() => null);
  function refresh() {
    const choices = model.get("choices");
    choices.forEach((choice, index) => {
      if (choice !== shown[index]) parts[index].show(choice);
    });
    shown = [...choices];
    const right = choices.filter((choice, index) => choice === questions[index].answer).length;
    score.textContent = `${right} of ${questions.length} right.`;
    notice.textContent = model.get("notice");
  }
  refresh();
  model.on("change:choices change:notice", refresh);
  return () => model.off("change:choices change:notice", refresh);
}

export default { render };
