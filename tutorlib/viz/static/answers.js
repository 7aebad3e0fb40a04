// Two answers to a prompt, and what a taste fitted to the choices would pick.

function drawPair(model, index) {
  const [prompt, ...answers] = model.get("pairs")[index];
  return make("div", {},
    make("p", { class: "tutorlib-prompt", "data-testid": "comparer-prompt" },
      make("strong", {}, "Prompt: "), prompt),
    make("div", { class: "tutorlib-pair" }, ...["Left", "Right"].map((side, i) => make("figure", {},
      make("figcaption", {}, side), make("p", {}, answers[i])))));
}

function drawTry({ prompt, picks }) {
  const cell = (tag, scope, text) => make(tag, scope ? { scope } : {}, text);
  return make("table", { class: "tutorlib-picks" },
    make("caption", {}, make("strong", {}, "To: "), prompt),
    make("thead", {}, make("tr", {}, cell("th", "col", "picked"), cell("th", "col", "answer"),
      cell("th", "col", "reward (nats)"))),
    make("tbody", {}, ...picks.map(([name, text, reward]) => make("tr", {},
      cell("th", "row", name), cell("td", "", text), cell("td", "", reward)))));
}

function drawResult(model) {
  const { tries, note } = model.get("answer");
  if (!tries.length) return make("div");
  return make("div", {},
    make("p", { class: "tutorlib-title" }, "What your taste, as learned so far, would pick"),
    ...tries.map(drawTry), ...(note ? [make("p", { "data-testid": "comparer-note" }, note)] : []));
}

const render = (view) => renderJudge(view, {
  name: "answer-comparer",
  answers: [
    ["left", "ArrowLeft", "\u2190 Left is better"],
    ["tie", "ArrowDown", "\u2193 About the same"],
    ["right", "ArrowRight", "Right is better \u2192"],
    ["skip", "ArrowUp", "\u2191 Skip"],
  ],
  others: [
    ["Undo", "comparer-undo", ({ undo }) => undo()],
    ["Forget all answers", "comparer-forget", ({ forget }) => forget()],
  ],
  help: "Keyboard: Tab to the answers, then \u2190, \u2193, \u2192 or \u2191; Backspace takes the last answer back.",
  drawPair,
  drawResult,
});

export default { render };
