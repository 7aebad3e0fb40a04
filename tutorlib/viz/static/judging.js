// Widgets that judge pairs: answers by mouse and keyboard, and what they add up to.

// `answers` are [choice, key, text]; `others` are further buttons, [text, testid, act(tools)];
// `drawPair(model, index)` and `drawResult(model)` return elements.
function renderJudge({ model, el }, { name, answers, others, help, drawPair, drawResult }) {
  const root = frame(el, name);
  const heading = make("p", { "data-testid": "comparer-pair" });
  const progress = make("progress", { max: model.get("pairs").length, "aria-label": "pairs judged" });
  const pair = make("div");
  const result = make("div", { "data-testid": "comparer-result" });
  const status = make("p", { role: "status", "data-testid": "comparer-status" });
  const problem = make("p", { role: "alert", class: "tutorlib-problem" });
  const last = () => model.get("pairs").length - 1;
  const tools = {
    // Replace all answers. What comes next is shown at once and not only when Python says so: a second
    // answer may come before Python has replied to the first.
    answer(choices, shown = choices.indexOf(null)) {
      model.set("shown", shown < 0 ? last() : shown);
      model.set("choices", choices);
      model.save_changes();
    },
    judge(choice) {
      const choices = [...model.get("choices")];
      choices[model.get("shown")] = choice;
      tools.answer(choices);
    },
    move(by) {
      model.set("shown", Math.min(Math.max(model.get("shown") + by, 0), last()));
      model.save_changes();
    },
    undo() {
      const choices = [...model.get("choices")];
      const index = choices.findLastIndex((choice) => choice !== null);
      if (index < 0) return;
      choices[index] = null;
      tools.answer(choices, index);
    },
    forget() {
      tools.answer(model.get("choices").map(() => null), 0);
    },
  };
  const button = (text, testid, act) => {
    const made = make("button", { type: "button", "data-testid": testid }, text);
    made.addEventListener("click", act);
    return made;
  };
  const buttons = new Map(answers.map(([choice, , text]) => [
    choice, button(text, `judge-${choice}`, () => tools.judge(choice))]));
  const row = make("div", { class: "tutorlib-answers", role: "group", "aria-label": "Your answer" },
    ...buttons.values());
  row.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [choice] = answers.find(([, key]) => key === event.key) ?? [];
    if (!choice && event.key !== "Backspace") return;
    event.preventDefault();
    if (choice) tools.judge(choice);
    else tools.undo();
    buttons.get(choice)?.focus();
  });
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")), progress,
    make("div", { "aria-live": "polite" }, heading, pair), row,
    make("div", { class: "tutorlib-answers" },
      ...others.map(([text, testid, act]) => button(text, testid, () => act(tools)))),
    make("p", { class: "tutorlib-help" }, help), status, problem, result);

  let drawn = [];
  // Draw again only what changed: a screen reader reads a pair once, when it comes up.
  function refresh() {
    const [shown, answer] = [model.get("shown"), model.get("answer")];
    const chosen = model.get("choices")[shown];
    if (drawn[0] !== shown || drawn[1] !== chosen) {
      heading.textContent = `Pair ${shown + 1} of ${last() + 1}${chosen ? `: you said ${chosen}` : ""}`;
      for (const [choice, element] of buttons) {
        element.setAttribute("aria-pressed", String(choice === chosen));
      }
    }
    if (drawn[0] !== shown) pair.replaceChildren(drawPair(model, shown));
    if (drawn[2] !== answer) {
      status.textContent = answer.status;
      result.replaceChildren(drawResult(model));
    }
    progress.value = model.get("choices").filter((choice) => choice !== null).length;
    problem.textContent = model.get("message");
    drawn = [shown, chosen, answer];
  }
  const watched = "change:answer change:choices change:shown change:message";
  refresh();
  model.on(watched, refresh);
  return () => model.off(watched, refresh);
}
