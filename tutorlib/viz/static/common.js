// Helpers that all widgets share; Python puts this text before each widget's own code.

// An HTML element with attributes and children (strings become text, never markup).
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Text in which `quoted code` is set as code.
function rich(text) {
  const parts = text.split("`");
  if (parts.length % 2 === 0) return [text];
  return parts.map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

const unique = (name) => `tutorlib-${name}-${Math.random().toString(36).slice(2, 10)}`;

// The widget's outermost element. JupyterLab's own shortcuts (arrows, Enter, letters) stay out of it.
function frame(el, testid) {
  const root = make("div", {
    class: "tutorlib-widget", "data-testid": testid, "data-lm-suppress-shortcuts": "true",
  });
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.replaceChildren(root);
  return root;
}

// Run an action when calls have paused for `delay` milliseconds.
function debounce(delay, action) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, delay);
  };
}

// A labelled range input with its value written beside it. `text(position)` is also what a screen
// reader says. Returns {row, input, show(position)}.
function slider({ name, label, low, high, step, text, onInput }) {
  const id = unique(name);
  const input = make("input", {
    type: "range", id, min: low, max: high, step, "data-testid": `slider-${name}`,
  });
  const output = make("span", { "aria-hidden": "true" }); // the input itself says its value
  const show = (position) => {
    if (Number(input.value) !== position) input.value = position;
    output.textContent = text(position);
    input.setAttribute("aria-valuetext", text(position));
  };
  input.addEventListener("input", () => {
    show(Number(input.value));
    onInput(Number(input.value));
  });
  const row = make("div", { class: "tutorlib-slider" },
    make("label", { for: id }, label), input, output);
  return { row, input, show };
}

// A number as people write it: a real minus sign, no "-0".
function tidy(value, decimals) {
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "\u2212");
}
