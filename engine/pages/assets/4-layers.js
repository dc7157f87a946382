// The prompt, the table of layers, and the detail of one row.

/** The prompt's tokens, the picture's folded to one. */
function promptPanel(state) {
  const { run, answer } = state.known;
  const line = el("p", { class: "strip" });
  for (let at = 0; at < run.tokens.length; at += 1) {
    let end = at;
    while (run.tokens[at].kind === "image" && end + 1 < run.tokens.length && run.tokens[end + 1].kind === "image") end += 1;
    const { part, kind, text } = run.tokens[at];
    if (end > at) line.append(el("span", { class: "chip picture", title: `the picture: positions ${at} to ${end}` }, `▣ ${end - at + 1}`));
    else line.append(chip(state, at, text, kind === "special" || part === "template" || part === "system" ? "faint" : ""));
    at = end;
  }
  if (answer && run.position === run.tokens.length - 1) line.append(el("span", { class: "next" }, "▸"));
  return panel("prompt", { class: "prompt" }, line);
}

function chip(state, position, text, look) {
  const props = { class: `chip ${look}`, data: { position }, title: `position ${position}` };
  if (!state.known.at(position)) return el("span", props, token(text));
  return el("button", { ...props, onclick: () => go(state, { position }) }, token(text));
}

function layersPanel(state) {
  const { known, position } = state;
  const { rows } = known.at(position);
  const { run } = known;
  const held = rows.reduce((most, row) => Math.max(most, row.top.length), 1);
  const top = Math.min(held, Math.max(3, Math.min(run.question.top_k, 5)));
  const hasKl = rows.some((row) => isNumber(row.kl_to_last));
  const hasAnswer = rows.some((row) => row.answer);
  const heads = el("tr", {}, el("th", { class: "right" }, term("row", "layer")), el("th", {}),
    Array.from({ length: top }, (_, place) => el("th", { class: place ? "more" : "" }, ["1st", "2nd", "3rd"][place] || `${place + 1}th`)),
    el("th", { class: "right" }, term("entropy")),
    hasKl ? el("th", { class: "right wide" }, term("KL divergence", "KL")) : null,
    hasAnswer ? el("th", { class: "right wide" }, term("answer")) : null);
  const marks = marksOf(rows, state);
  const lines = rows.map((row, at) => el("tr", { data: { row: row.layer }, onclick: () => go(state, { row: row.layer }) },
    el("td", { class: "right faint layer" }, `${row.approximate ? "≈ " : ""}${row.layer}`, el("span", { class: "end" }, row.layer === 0 ? "emb" : row.layer === run.layers ? "out" : "")),
    el("td", { class: `mark ${marks[at].look}` }, marks[at].sign),
    Array.from({ length: top }, (_, place) => el("td", { class: place ? "more" : "" }, row.top[place] ? candidateCell(known, row.top[place]) : null)),
    el("td", { class: "right faint" }, number(row.entropy)),
    hasKl ? el("td", { class: "right faint wide" }, number(row.kl_to_last)) : null,
    hasAnswer ? el("td", { class: "right faint wide" }, row.answer ? `${percent(row.answer.probability)} #${row.answer.rank}` : "–") : null));
  const where = position === run.position ? null : [`position ${position}, after `, token(known.tokenAt(position), 20),
    el("button", { class: "small", onclick: () => go(state, { position: run.position }) }, "back")];
  const table = el("table", { id: "layers", class: run.status === "failed" ? "refused" : "" }, el("thead", {}, heads), el("tbody", {}, lines));
  return panel("layers", { class: "layers focus", aside: where }, rows.length ? el("div", { class: "scroll" }, table) : el("p", { class: "faint" }, "no row was read"));
}

const isNumber = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** As in the explorer: a new leader, the same one, the formation row and what follows it. */
function marksOf(rows, state) {
  const { run } = state.known;
  const formed = state.position === run.position ? run.formation : null;
  return rows.map((row, at) => {
    if (!row.top[0]) return { sign: "", look: "" };
    if (formed !== null && row.layer >= formed) return { sign: row.layer === formed ? "●" : "│", look: "answer" };
    const before = rows[at - 1];
    return { sign: before && before.top[0] && before.top[0].id === row.top[0].id ? "┆" : "○", look: "faint" };
  });
}

function candidateCell(known, each) {
  const look = known.colour(each.id);
  return el("span", { class: `candidate ${look}` }, token(each.text, 24), bar(each.probability, look), el("span", { class: "p" }, percent(each.probability)));
}

function detailPanel(state) {
  const { known } = state;
  const { rows } = known.at(state.position);
  const row = rows.find((each) => each.layer === state.row);
  if (!row) return panel("layer detail", { class: "detail" }, el("p", { class: "faint" }, "this row was not read here"));
  const before = rows.find((each) => each.layer === state.row - 1);
  const facts = [
    ["layer", String(row.layer)], [term("entropy"), number(row.entropy)], ["rms", number(row.rms)],
    isNumber(row.kl_to_last) ? [term("KL divergence", "KL"), number(row.kl_to_last)] : null,
    row.answer ? [term("answer"), `${percent(row.answer.probability)} #${row.answer.rank}`] : null,
  ].filter(Boolean).map(([name, value]) => el("span", {}, el("span", { class: "faint" }, name, " "), value));
  let sum = 0;
  const lines = row.top.slice(0, state.all ? 1000 : 10).map((each, at) => {
    const look = known.colour(each.id);
    sum += each.probability;
    return el("tr", {}, el("td", { class: "right" }, String(at + 1)), el("td", {}, moved(before, each.id, at)),
      el("td", { class: look }, token(each.text, 40)), el("td", { class: "right faint wide" }, String(each.id)),
      el("td", { class: `right ${look}` }, percent(each.probability)), el("td", { class: "right faint" }, percent(sum)),
      el("td", { class: "right faint" }, number(each.logit)), el("td", { class: "wide" }, bar(each.probability, `thin ${look}`)));
  });
  const heads = [["", "right"], ["moved", ""], ["token", ""], ["id", "right wide"], ["p", "right"], ["sum", "right"], ["logit", "right"], ["", "wide"]];
  const more = row.top.length > 10 ? el("button", { class: "small", onclick: () => go(state, { all: !state.all }) }, state.all ? "fewer" : `all ${row.top.length}`) : null;
  return panel("layer detail", { class: "detail", aside: more }, el("p", { class: "facts" }, facts),
    row.approximate ? el("p", { class: "warning" }, `approximate: ${prose(row.approximate)}`) : null,
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map(([head, look]) => el("th", { class: look }, head)))), el("tbody", {}, lines))));
}

function moved(before, id, at) {
  if (!before) return "";
  const was = before.top.findIndex((each) => each.id === id);
  if (was < 0) return el("span", { class: "faint" }, "new");
  if (was === at) return "";
  return el("span", { class: was > at ? "good" : "faint" }, `${was > at ? "▲" : "▼"}${Math.abs(was - at)}`);
}
