// The whole answer, attention, and every reading as its tables.

const SAMPLING = ["temperature", "top_p", "top_k", "min_p"];

function answerPanel(state) {
  const { known } = state;
  const { run, whole } = known;
  if (!whole || !whole.tokens.shape[0] || run.position !== run.tokens.length - 1) return null;
  const ids = whole.tokens.values;
  const [steps, rows, top] = whole.ids.shape;
  const formedAt = (step) => {
    let row = rows;
    while (row > 0 && whole.ids.values[(step * rows + row - 1) * top] === ids[step]) row -= 1;
    return row < rows ? row : null;
  };
  const chips = Array.from({ length: steps }, (_, step) => {
    const formed = formedAt(step);
    // The rows that chose a token are those of the position before it.
    const position = run.position + step;
    return el("button", { class: "step", data: { position }, title: `token ${step} of the answer: the rows that chose it`, onclick: () => go(state, { position, row: run.layers }) },
      token(whole.texts[ids[step]] ?? "", 24), el("small", {}, percent(whole.probability.values[step])),
      bar(whole.probability.values[step], known.colour(ids[step])), el("small", { class: "faint" }, formed === null ? "drawn" : `from ${formed}`));
  });
  const used = Object.entries(whole.settings).filter(([name]) => SAMPLING.includes(name)).map(([name, value]) => `${name} ${value}`);
  const settings = whole.settings.do_sample ? `Drawn with ${used.join(", ")}.` : "Greedy.";
  return panel("whole answer", { class: "answer-strip" }, el("div", { class: "steps" }, chips),
    el("p", { class: "faint" }, "Each token with the model's own probability and the layer from which it stays the best; a click shows its rows. ", whole.ended ? "The model ended it." : "The limit of tokens ended it.", ` ${settings}`));
}

function attentionPanel(state) {
  const { known } = state;
  const reading = known.reading("attention");
  if (!reading) return null;
  const layers = reading.layers.filter((each) => each.shares);
  if (!layers.length) return null;
  const groups = [...reading.groups, "nowhere"];
  const without = state.sinks && layers.every((each) => each.shares_without_sinks);
  const meanOf = (each) => groups.map((_, group) => {
    const array = without ? each.shares_without_sinks : each.shares;
    const [heads, width] = array.shape;
    if (group >= width) return 0;
    let sum = 0;
    let count = 0;
    for (let head = 0; head < heads; head += 1) {
      const value = array.values[head * width + group];
      if (Number.isFinite(value)) { sum += value; count += 1; }
    }
    return count ? sum / count : 0;
  });
  const means = layers.map(meanOf);
  const used = groups.map((_, group) => means.some((each) => each[group] > 0.0005));
  const legend = groups.map((group, at) => (used[at] ? el("span", { class: "key" }, el("b", { class: `swatch group-${at % 8}` }), prose(group)) : null));
  const lines = layers.map((each, at) => el("tr", { data: { row: each.layer }, onclick: () => go(state, { row: each.layer }) },
    el("td", { class: "right faint" }, `${each.layer}${each.keys === "states" ? " states" : ""}`),
    el("td", { class: "stack" }, means[at].map((share, group) => (share > 0.0005 ? el("b", { class: `group-${group % 8}`, title: `${prose(groups[group])} ${percent(share)}`, look: { width: `${share * 100}%` } }) : null))),
    el("td", { class: "right faint" }, percent(means[at][groups.indexOf("picture")] ?? null))));
  const aside = reading.sinks.length ? el("label", {}, el("input", { type: "checkbox", checked: state.sinks, onchange: (event) => go(state, { sinks: event.target.checked }) }), " without sinks") : null;
  const best = reading.best.length ? el("p", { class: "faint" }, "Heads that localise best on the picture: ", reading.best.map((each) => `layer ${each.layer} head ${each.head} (${percent(each.share)} on it)`).join(", "), ".") : null;
  return panel("attention", { class: "attention", aside }, el("p", {}, `Where layer by layer the heads look from position ${reading.position}, mean over heads.`),
    el("p", { class: "keys" }, legend), el("div", { class: "scroll" }, el("table", { class: "shares" }, el("thead", {}, el("tr", {}, el("th", { class: "right" }, "layer"), el("th", {}, ""), el("th", { class: "right" }, "picture"))), el("tbody", {}, lines))), best, proofLine(reading.proof, reading.reason));
}

function proofLine(proof, reason) {
  if (!proof) return reason ? el("p", { class: "faint" }, `No proof of its own: ${prose(reason)}`) : null;
  return el("p", { class: proof.passed ? "good" : "bad" }, `${proof.passed ? "✓ proof passed" : "✗ proof failed"}: `,
    el("span", { class: "faint" }, `${prose(proof.what)} (${number(proof.error)}, tolerance ${number(proof.tolerance)})`));
}

const MOST_LINES = 200;

function readingsPanel(state) {
  const { run, shown } = state.known;
  if (!run.readings.length) return null;
  const folds = run.readings.map((reading, at) => {
    const { title, asked, tables } = shown.readings[at];
    const fold = el("details", { class: "reading" }, el("summary", {}, el("strong", {}, prose(reading.method)), " ", title ? el("span", {}, prose(title)) : "", asked ? el("span", { class: "faint" }, ` ${prose(asked)}`) : ""));
    fold.addEventListener("toggle", () => {
      if (!fold.open || fold.childElementCount > 1) return;
      fold.append(...(tables.length ? tables.map(readingTable) : [el("p", { class: "faint" }, "This version has no table for it; the session in this page holds it.")]));
      // Without a title, it is of a method that is not known: what its proof means is not, either.
      const proof = title ? proofLine(reading.proof, reading.reason) : null;
      if (proof) fold.append(proof);
    });
    return fold;
  });
  return panel("readings", { class: "readings" }, folds);
}

function readingTable(table) {
  const body = el("tbody", {}, table.rows.slice(0, MOST_LINES).map((row) => tableLine(table, row)));
  const rest = table.rows.length - MOST_LINES;
  const more = rest > 0 ? el("button", { class: "small", onclick: () => {
    body.append(...table.rows.slice(MOST_LINES).map((row) => tableLine(table, row)));
    more.remove();
  } }, `${rest.toLocaleString("en")} more`) : null;
  const heads = table.columns.map((column) => el("th", { class: column.right ? "right" : "" }, column.of_a_token ? token(column.head) : prose(column.head)));
  return el("div", { class: "reading-table" }, table.title ? el("h3", {}, prose(table.title)) : null,
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), body)), more, table.notes.map((note) => el("p", { class: "faint" }, prose(note))));
}

const tableLine = (table, row) => el("tr", {}, row.map((cell, at) => el("td", { class: table.columns[at].right ? "right" : "" }, shownCell(cell, table.columns[at]))));

function shownCell(cell, column) {
  if (cell === null) return el("span", { class: "faint" }, "–");
  if (Array.isArray(cell) && column.kind === "place") return cell[0] === null ? "–" : `${percent(cell[0])}${cell[1] === null ? "" : ` #${cell[1]}`}`;
  if (Array.isArray(cell)) return el("span", { class: "candidate" }, token(cell[0], 24), bar(cell[1]), el("span", { class: "p" }, percent(cell[1])));
  if (column.kind === "token") return token(cell);
  if (typeof cell === "string") return prose(cell);
  if (column.kind === "share") return percent(cell);
  if (column.kind === "count") return String(cell);
  return column.decimals === null ? number(cell) : cell.toFixed(column.decimals);
}
