// Small panels that are drawn again whenever Python sends the records so far.

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [320, 170, 52, 14, 10, 36]; // SVG units

function svgNode(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Three significant digits and a real minus sign, as in the static pictures.
const brief = (value) => String(Number(value.toPrecision(3))).replace("-", "\u2212");

// The ends of an axis: round numbers around the values.
function limits(values) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const step = 10 ** Math.floor(Math.log10((high - low) / 2));
  return [Math.floor(low / step) * step, Math.ceil(high / step) * step];
}

function drawAxes(svg, [left, right], [low, high], place) {
  const small = { "font-size": 12, fill: "#1a1a1a" };
  for (const value of [low, (low + high) / 2, high]) {
    const y = place.y(value);
    svg.append(svgNode("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, stroke: "#dcdcdc" }),
      svgNode("text", { ...small, x: LEFT - 5, y: y + 4, "text-anchor": "end" }, brief(value)));
  }
  const below = { ...small, y: HEIGHT - BOTTOM + 16 };
  svg.append(svgNode("text", { ...below, x: LEFT }, brief(left)),
    svgNode("text", { ...below, x: (LEFT + WIDTH - RIGHT) / 2, "text-anchor": "middle" }, "step"),
    svgNode("text", { ...below, x: WIDTH - RIGHT, "text-anchor": "end" }, brief(right)));
}

// One curve, interrupted where a record lacks the number; the latest one has a dot.
function drawPanel(steps, series, text) {
  const svg = svgNode("svg", {
    role: "img", "aria-label": text, viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    "font-family": "system-ui, DejaVu Sans, sans-serif",
  });
  const known = steps.map((step, i) => [step, series[i]]).filter(([, value]) => value !== null);
  if (!known.length) return svg;
  const first = Math.min(...steps);
  const span = [first, Math.max(...steps, first + 1)];
  const range = limits(known.map(([, value]) => value));
  const place = {
    x: (step) => LEFT + ((step - span[0]) / (span[1] - span[0])) * (WIDTH - LEFT - RIGHT),
    y: (value) => TOP + ((range[1] - value) / (range[1] - range[0])) * (HEIGHT - TOP - BOTTOM),
  };
  drawAxes(svg, span, range, place);
  let [path, pen] = ["", "M"];
  series.forEach((value, i) => {
    if (value !== null) path += `${pen}${place.x(steps[i]).toFixed(1)} ${place.y(value).toFixed(1)}`;
    pen = value === null ? "M" : "L";
  });
  const [step, value] = known.at(-1);
  svg.append(svgNode("path", { d: path, fill: "none", stroke: "#0b64a8", "stroke-width": 2 }),
    svgNode("circle", { cx: place.x(step), cy: place.y(value), r: 4, fill: "#0b64a8" }));
  return svg;
}

function render({ model, el }) {
  const root = frame(el, "live-curves");
  const figures = model.get("labels").map((label, i) => make("figure", { "data-testid": `panel-${i}` }));
  const count = make("p", { "data-testid": "live-count" });
  root.append(make("p", { class: "tutorlib-title" }, model.get("title")),
    make("div", { class: "tutorlib-curves" }, ...figures), count);
  function refresh() {
    const { steps, series, texts, count: records } = model.get("curves");
    count.textContent = records === 1 ? "1 record" : `${records} records`;
    figures.forEach((figure, i) => {
      const latest = series[i].filter((value) => value !== null).at(-1);
      const now = latest === undefined ? "" : `: ${brief(latest)}`;
      figure.replaceChildren(make("figcaption", {}, `${model.get("labels")[i]}${now}`),
        drawPanel(steps, series[i], texts[i]));
    });
  }
  refresh();
  model.on("change:curves", refresh);
  return () => model.off("change:curves", refresh);
}

export default { render };
