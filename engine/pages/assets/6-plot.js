// The trajectories: a token's probability, its logarithm or its rank over the rows.

const MOST_CURVES = 12;
const downTo = (low, step) => Array.from({ length: Math.floor(-low / step) + 1 }, (_, at) => (at ? -at * step : 0));
const MEASURES = {
  probability: { of: (p) => p, height: (p) => p, ticks: () => [0, 0.25, 0.5, 0.75, 1], mark: (each) => `${each * 100}%`, shown: percent, low: () => 0, high: 1 },
  "log p": { of: (p) => (p > 0 ? Math.log(p) : null), height: (value) => Math.max(value, -30), ticks: (low) => downTo(low, low < -12 ? 5 : 2), mark: String, shown: number, low: (least) => Math.min(least, -1), high: 0 },
  rank: { of: (_, rank) => rank, height: (value) => -Math.log10(value), ticks: (low) => downTo(low, 1), mark: (each) => `#${(10 ** -each).toLocaleString("en")}`, shown: (value) => `#${value}`, low: (least) => Math.min(least, -1), high: 0 },
};

/** The answer, what the user tracks, and every leader, those that lead most rows first. */
function curvesOf(known, at) {
  const { rows } = at;
  const tracked = new Map((at.tracked || []).map((each) => [each.id, each]));
  const tokens = new Map();
  if (known.answer) tokens.set(known.answer.id, known.answer.text);
  for (const each of tracked.values()) if (each.why === "user") tokens.set(each.id, each.text);
  const led = new Map();
  for (const { top } of rows) if (top[0]) led.set(top[0].id, { text: top[0].text, rows: (led.get(top[0].id)?.rows || 0) + 1 });
  for (const [id, each] of [...led].sort((a, b) => b[1].rows - a[1].rows)) if (!tokens.has(id)) tokens.set(id, each.text);
  return [...tokens].map(([id, text]) => ({
    id, text, look: known.colour(id),
    points: rows.map((row, index) => {
      const whole = tracked.get(id);
      if (whole && whole.probability.length === rows.length) return [row.layer, whole.probability[index], whole.rank[index]];
      const place = row.top.findIndex((each) => each.id === id);
      return place < 0 ? [row.layer, null, null] : [row.layer, row.top[place].probability, place + 1];
    }),
  }));
}

function plotPanel(state) {
  const { known } = state;
  const all = curvesOf(known, known.at(state.position));
  const curves = all.slice(0, MOST_CURVES);
  const choice = Object.keys(MEASURES).map((name) => el("button", { class: "small", "aria-pressed": String(name === state.measure), onclick: () => go(state, { measure: name }) }, name));
  const legend = curves.map((curve) => el("span", { class: `key ${curve.look}` }, "━ ", token(curve.text, 20), " ", el("span", { class: "faint value" })));
  const holder = el("div", { class: "plot" });
  state.plot = { holder, curves, legend };
  const more = all.length > curves.length ? el("span", { class: "faint" }, `and ${all.length - curves.length} more`) : null;
  return panel("trajectories", { class: "trajectories", aside: choice }, holder, el("p", { class: "keys" }, legend, more));
}

function drawPlot(state) {
  const { holder, curves } = state.plot;
  const measure = MEASURES[state.measure];
  const wide = Math.max(holder.clientWidth, 280);
  const [high, left, below] = [wide < 560 ? 220 : 260, 48, 22];
  const { layers } = state.known.run;
  const across = (wide - left - 12) / Math.max(layers, 1);
  const lines = curves.map((curve) => curve.points.map(([row, p, rank]) => [row, p === null ? null : measure.of(p, rank)]));
  const heights = lines.flat().map(([, value]) => value).filter(isNumber).map(measure.height);
  const low = measure.low(heights.reduce((a, b) => Math.min(a, b), 0));
  const x = (row) => left + row * across;
  const y = (height) => 10 + (measure.high - height) / (measure.high - low || 1) * (high - 16 - below);
  const drawing = svg("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "img", "aria-label": `${state.measure} of ${words(curves.length, "token")} over ${layers + 1} rows` });
  for (const tick of measure.ticks(low)) drawing.append(svg("line", { class: "grid", x1: left, x2: wide - 12, y1: y(tick), y2: y(tick) }), svg("text", { class: "axis", x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, measure.mark(tick)));
  const every = Math.max(1, Math.ceil(layers / (wide / 45)));
  for (let row = 0; row <= layers; row += every) drawing.append(svg("text", { class: "axis", x: x(row), y: high - 4, "text-anchor": "middle" }, String(row)));
  drawing.append(svg("line", { class: "cursor", y1: 4, y2: high - below }));
  for (const index of [...curves.keys()].reverse()) { // the answer on top
    for (const stretch of stretches(lines[index])) {
      const at = ([row, value]) => [x(row).toFixed(1), y(measure.height(value)).toFixed(1)];
      drawing.append(svg("polyline", { class: `curve ${curves[index].look}`, points: stretch.map((each) => at(each).join(",")).join(" ") }));
      for (const each of stretch) drawing.append(svg("circle", { class: `dot ${curves[index].look}`, cx: at(each)[0], cy: at(each)[1], r: curves[index].look === "answer" ? 3 : 2 }));
    }
  }
  drawing.addEventListener("click", (event) => {
    const row = Math.round((event.clientX - drawing.getBoundingClientRect().left - left) / across);
    go(state, { row: Math.max(0, Math.min(layers, row)) });
  });
  holder.replaceChildren(drawing);
  state.plot.x = x;
  movePlot(state);
}

function stretches(line) {
  const parts = [[]];
  for (const point of line) {
    if (isNumber(point[1])) parts.at(-1).push(point);
    else parts.push([]);
  }
  return parts.filter((part) => part.length);
}

function movePlot(state) {
  const { holder, curves, legend, x } = state.plot;
  const cursor = holder.querySelector(".cursor");
  cursor.setAttribute("x1", x(state.row));
  cursor.setAttribute("x2", x(state.row));
  const measure = MEASURES[state.measure];
  curves.forEach((curve, at) => {
    const [, p, rank] = curve.points.find(([row]) => row === state.row) || [0, null, null];
    const value = p === null ? null : measure.of(p, rank);
    legend[at].querySelector(".value").textContent = isNumber(value) ? measure.shown(value) : "–";
  });
}
