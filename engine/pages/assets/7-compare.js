// Two runs side by side.

function comparePanel(state) {
  if (PAGE.runs.length < 2) return null;
  const select = el("select", { "aria-label": "compare with", onchange: async (event) => {
    const other = Number(event.target.value);
    go(state, { against: other, other: other < 0 ? null : await loadRun(other) });
  } }, el("option", { value: -1 }, "no other run"), PAGE.runs.map((run, at) => (at === state.index ? null : el("option", { value: at }, `${at + 1}  ${runName(run)}`))));
  select.value = state.against;
  return panel("comparison", { class: "compare", aside: ["with ", select] },
    state.other ? compared(state) : el("p", { class: "faint" }, "Choose another run to see both side by side, and where they part."));
}

function runName(run) {
  const instead = run.instead ? ` (${prose(run.instead)} instead of the picture)` : "";
  return prose(run.title || run.prompt).slice(0, 80) + instead;
}

/** Pairs of rows; of models with different numbers of layers, those at the same relative depth. */
function pairsOf(left, right) {
  if (left.layers === right.layers) return left.rows.map((row) => [row, right.rows[row.layer]]);
  const deep = Math.max(left.layers, right.layers);
  return Array.from({ length: deep + 1 }, (_, at) => [left, right].map((run) => run.rows[Math.round(at / deep * run.layers)]));
}

const inRow = (row, same) => { const found = row && row.top.find(same); return found ? found.probability : null; };

function probabilityIn(known, row, same) {
  const tracked = known.run.tracked.find(same);
  return tracked && row ? tracked.probability[row.layer] ?? null : inRow(row, same);
}

function compared(state) {
  const { known, other } = state;
  const [one, two] = [known.run, other.run];
  const sameModel = one.question.model && two.question.model && one.question.model.name === two.question.model.name;
  const alike = (each) => (token) => (sameModel ? token.id === each.id : token.text === each.text);
  const found = PAGE.session.comparisons.find((each) => (each.of === one.id && each.against === two.id) || (each.of === two.id && each.against === one.id));
  const answer = known.answer || (one.rows.at(-1) && one.rows.at(-1).top[0]);
  const pairs = pairsOf(one, two);
  // Null where one of the two has no token: such rows are neither the same nor different.
  const differ = pairs.map(([a, b]) => (a && b && a.top[0] && b.top[0] ? !alike(a.top[0])(b.top[0]) : null));
  let first = differ.length;
  while (first > 0 && differ[first - 1]) first -= 1;
  const rows = new Map((found ? found.rows : []).map((each) => [each.layer, each]));
  const most = Math.LN2;
  // A token has one colour on both sides; the other run's own leaders get the next ones, here only.
  const theirs = sameModel ? Object.assign(Object.create(known), { hues: new Map(known.hues) }) : other;
  for (const [, b] of pairs) if (sameModel && b && b.top[0]) theirs.hue(b.top[0].id);
  const lines = pairs.map(([a, b], at) => {
    const mine = answer ? probabilityIn(known, a, alike(answer)) : null;
    const its = answer ? probabilityIn(other, b, alike(answer)) : null;
    const apart = rows.get(at);
    return el("tr", { data: { row: a ? a.layer : at }, onclick: () => go(state, { row: a ? a.layer : at }) }, el("td", { class: "right faint" }, one.layers === two.layers ? String(at) : `${a ? a.layer : "–"}:${b ? b.layer : "–"}`),
      el("td", {}, a && a.top[0] ? candidateCell(known, a.top[0]) : null), el("td", { class: "mark" }, differ[at] ? "≠" : ""),
      el("td", {}, b && b.top[0] ? candidateCell(theirs, b.top[0]) : null),
      el("td", { class: "right wide" }, points(isNumber(mine) && isNumber(its) ? its - mine : null)),
      rows.size ? el("td", { class: "right faint wide" }, number(apart && apart.js)) : null,
      rows.size ? el("td", { class: "wide" }, bar(apart ? apart.js / most : 0, "thin")) : null);
  });
  const heads = [["layer", "right"], ["this run", ""], ["", ""], [`run ${state.against + 1}`, ""], [answer ? ["p of ", token(answer.text, 12)] : "", "right wide"]];
  if (rows.size) heads.push([term("Jensen-Shannon divergence", "JS"), "right wide"], ["0 to ln 2", "wide faint"]);
  const verdict = [];
  if (one.status !== "done" || two.status !== "done") verdict.push("One of them did not end: no verdict.");
  else if (first < pairs.length) verdict.push(`Their best tokens differ from layer ${first} to the end.`);
  else if (differ.at(-1) === false) verdict.push("Both end with the same token.");
  if (found && found.layer !== null && found.kind === "counterfactual") verdict.push(`The divergence stays above ${number(found.threshold)} nats from layer ${found.layer} on: from there the picture is seen.`);
  if (found && found.unavailable) verdict.push(prose(found.unavailable));
  if (two.error) verdict.push(prose(two.error));
  return [el("p", {}, verdict.join(" ")), el("p", { class: "faint" }, `${runName(PAGE.runs[state.index])}  ·  ${runName(PAGE.runs[state.against])}`),
    el("div", { class: "scroll" }, el("table", { class: "pairs" }, el("thead", {}, el("tr", {}, heads.map(([head, look]) => el("th", { class: look }, head)))), el("tbody", {}, lines)))];
}
