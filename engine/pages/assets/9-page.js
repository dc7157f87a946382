// The page: what is shown, and the keys.

const STATE = {
  index: 0, known: null, position: 0, row: 0, map: -1, sheet: 0, log: false, measure: "probability",
  against: -1, other: null, all: false, sinks: false, hovered: null, framed: null, maps: [], view: null, plot: null, root: null,
};

async function showRun(index) {
  const state = STATE;
  const known = await loadRun(index);
  Object.assign(state, { index, known, position: known.run.position, against: -1, other: null, hovered: null, framed: null, sheet: 0, view: null });
  state.row = known.run.formation ?? Math.max(known.run.rows.length - 1, 0);
  state.maps = known.patches ? mapsOf(known) : [];
  state.map = glowing(state.maps, state.row, known);
  const compared = PAGE.session.comparisons.find((each) => [each.of, each.against].includes(known.run.id));
  if (compared) {
    const other = PAGE.runs.findIndex((run) => run.id === (compared.of === known.run.id ? compared.against : compared.of));
    if (other >= 0 && PAGE.runs[other].rows) Object.assign(state, { against: other, other: await loadRun(other) });
  }
  draw(state);
}

/** The first map that glows somewhere in a row; else the first one. */
function glowing(maps, row, known) {
  if (!maps.length) return -1;
  const shows = (map) => map.unit !== "nats" && known.patches.sheets[0].some((patch) => stepOf(map, map.value(row, patch.position), false) >= STEPS / 4);
  return Math.max(maps.findIndex(shows), 0);
}

/** Everything that is shown changes here. */
function go(state, changes) {
  const before = { ...state };
  Object.assign(state, changes);
  const changed = (...names) => names.some((name) => before[name] !== state[name]);
  if (changed("map", "sheet")) replace(state, "picture", picturePanel);
  if (changed("position")) for (const [name, make] of [["layers", layersPanel], ["trajectories", plotPanel]]) replace(state, name, make);
  if (changed("measure")) replace(state, "trajectories", plotPanel);
  if (changed("against", "other")) replace(state, "compare", comparePanel);
  if (changed("sinks")) replace(state, "attention", attentionPanel);
  if (changed("row", "position", "all")) replace(state, "detail", detailPanel);
  mark(state, changed("row"));
}

function replace(state, name, make) {
  const old = state.root.querySelector(`.panel.${name}`);
  if (!old) return;
  old.replaceWith(make(state) || "");
  if (name === "trajectories") drawPlot(state);
}

/** Put the cursor where it is, in every table, the plot and the picture. */
function mark(state, scroll) {
  for (const line of state.root.querySelectorAll("tr[data-row]")) {
    const here = Number(line.dataset.row) === state.row;
    line.classList.toggle("here", here);
    const box = line.closest(".scroll");
    if (!here || !scroll || box.scrollHeight <= box.clientHeight) continue;
    const [top, bottom] = [line.offsetTop, line.offsetTop + line.offsetHeight];
    if (top < box.scrollTop + 28) box.scrollTop = top - 28;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
  }
  for (const each of state.root.querySelectorAll("[data-position]")) each.classList.toggle("here", Number(each.dataset.position) === state.position);
  if (state.plot) movePlot(state);
  drawPicture(state);
}

function summaryPanel(state) {
  const { run, answer } = state.known;
  const { question } = run;
  const said = answer ? [el("span", { class: "answer big" }, token(answer.text)), el("span", { class: "answer" }, ` ${percent(run.rows.at(-1).top[0].probability)}`),
    el("span", { class: "faint" }, run.formation === null ? "" : run.formation === 0 ? "  top-1 in every layer" : `  top-1 for good from layer ${run.formation} of ${run.layers}`)] : el("span", { class: "warning" }, { cancelled: `cancelled after ${words(run.rows.length, "row")}`, failed: "failed: do not believe these rows" }[run.status] || run.status);
  const facts = [["system", question.system], ["answer begins", question.prefix], ["asked", question.chat ? "" : "raw, without chat template"], ["final norm", question.norm ? "" : `off for rows 0 to ${run.layers - 1}; row ${run.layers} is the model's own`]];
  return panel("question", { class: "question" }, el("p", { class: "asked" }, prose(question.prompt)),
    facts.map(([name, value]) => (value ? el("p", { class: "faint" }, `${name}: `, prose(value)) : null)), el("p", { class: "said" }, said),
    run.error ? el("p", { class: "bad" }, prose(run.error)) : null);
}

function headOf(state) {
  const { run } = state.known;
  const card = run.question.model;
  const { proof } = run;
  const total = run.seconds.total ?? Object.values(run.seconds).reduce((sum, each) => sum + each, 0);
  return [el("span", { class: "model" }, card ? prose(card.name) : "", card && card.revision ? el("span", { class: "faint" }, ` @${prose(card.revision).slice(0, 10)}`) : ""),
    el("span", { class: "right faint" }, card ? `${prose(card.device)} · ${prose(card.dtype)} · ` : "",
      proof ? el("button", { class: `term ${proof.passed ? "good" : "bad"}`, onclick: (event) => { event.stopPropagation(); explain(event.currentTarget, ["proof", `The largest difference between the lens's own last row and the logits that the model returned is ${number(proof.max_abs_difference)}; the tolerance is ${number(proof.tolerance)} (by ${proof.method}).`]); } }, `${proof.passed ? "✓" : "✗"} proof ${number(proof.max_abs_difference)}`) : "no proof",
      total ? ` · ${number(total)} s` : "")];
}

function aboutPanels(state) {
  const { shown, run } = state.known;
  const notes = [...(run.question.model ? run.question.model.notes : []).map(prose)];
  if (run.made.vision === "reused" || run.made.prefix) notes.push(`Made from earlier passes: vision ${run.made.vision}, ${words(run.made.prefix, "token")} from a cache.`);
  const versions = Object.entries(run.versions).map(([name, value]) => `${prose(name)} ${prose(value)}`).join(", ");
  const code = (title, text) => (text ? el("div", { class: "code" }, el("h3", {}, title, copyButton(text)), el("pre", {}, prose(text))) : null);
  const how = shown.command || shown.python ? panel("ask it again", { class: "again" }, code("on the command line", shown.command), code("in Python", shown.python), el("p", { class: "faint" }, `asked ${prose(run.created)} with ${versions}`)) : null;
  const cite = panel("how to cite", { class: "cite" }, el("p", {}, prose(PAGE.about.message)), code("BibTeX", PAGE.about.bibtex));
  const noted = notes.length ? panel("notes", { class: "notes" }, el("ul", {}, notes.map((note) => el("li", {}, note)))) : null;
  const glossary = PAGE.about.terms.length ? panel("glossary", { class: "glossary" }, el("details", {}, el("summary", {}, words(PAGE.about.terms.length, "term")), el("dl", {}, PAGE.about.terms.map(([word, meaning]) => [el("dt", {}, word), el("dd", {}, meaning)])))) : null;
  return [noted, how, cite, glossary];
}

function runsPanel(state) {
  if (PAGE.runs.length < 2) return null;
  const list = el("ol", { class: "runs-list" });
  const fill = (wanted) => list.replaceChildren(...PAGE.runs.map((run, at) => {
    const name = runName(run);
    if (wanted && !`${name} ${run.answer || ""}`.toLowerCase().includes(wanted.toLowerCase())) return null;
    return el("li", { class: at === state.index ? "here" : "" }, el("button", { onclick: () => showRun(at) }, el("span", { class: "faint" }, `${at + 1} `), name, " ",
      run.answer === null ? el("span", { class: "warning" }, run.status) : el("span", { class: "answer" }, token(run.answer, 20), ` ${percent(run.probability)}`)));
  }).filter(Boolean));
  fill("");
  const filter = PAGE.runs.length > 8 ? el("input", { type: "search", placeholder: "filter", "aria-label": "filter runs", oninput: (event) => fill(event.target.value) }) : null;
  return panel(words(PAGE.runs.length, "run"), { class: "runs", aside: filter }, list);
}

function draw(state) {
  byId("head").replaceChildren(...headOf(state));
  document.title = `${prose(state.known.run.question.prompt).slice(0, 80)} – Lenscope`;
  state.root = byId("page");
  state.root.replaceChildren(...[
    runsPanel(state),
    el("div", { class: "columns" },
      el("div", { class: "left" }, picturePanel(state), summaryPanel(state)),
      el("div", { class: "right-side" }, promptPanel(state), layersPanel(state), detailPanel(state))),
    plotPanel(state), answerPanel(state), attentionPanel(state), comparePanel(state), readingsPanel(state),
    el("div", { class: "about" }, ...aboutPanels(state).filter(Boolean)),
  ].filter(Boolean));
  drawPlot(state);
  const here = state.root.querySelector(".runs-list .here");
  if (here) here.parentElement.scrollTop = here.offsetTop - here.parentElement.offsetTop - 40;
  mark(state, true);
}

function step(by) {
  const { rows } = STATE.known.at(STATE.position);
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.layer >= STATE.row);
  const next = rows[Math.max(0, Math.min(rows.length - 1, (at < 0 ? rows.length - 1 : at) + by))];
  go(STATE, { row: next.layer });
}

const turn = (by) => { if (PAGE.runs.length > 1) showRun((STATE.index + by + PAGE.runs.length) % PAGE.runs.length); };
const nextMap = () => { if (STATE.maps.length) go(STATE, { map: (STATE.map + 2) % (STATE.maps.length + 1) - 1 }); };
const nextMeasure = () => { const names = Object.keys(MEASURES); go(STATE, { measure: names[(names.indexOf(STATE.measure) + 1) % names.length] }); };

function flipTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

const KEYS = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  g: () => step(-1e6), G: () => step(1e6), ".": () => turn(1), ",": () => turn(-1), m: nextMap, p: nextMeasure, t: flipTheme,
  Escape: () => { byId("hint").hidden = true; go(STATE, { position: STATE.known.run.position, framed: null }); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !STATE.known || ["SELECT", "INPUT", "TEXTAREA"].includes(event.target.tagName)) return;
  if (!Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("click", () => { byId("hint").hidden = true; });
byId("theme").addEventListener("click", flipTheme);
let resting = 0;
addEventListener("resize", () => {
  clearTimeout(resting);
  resting = setTimeout(() => { if (STATE.plot) drawPlot(STATE); drawPicture(STATE); }, 80);
});

function sayTrouble(text) {
  byId("page").replaceChildren(el("p", { class: "bad" }, text));
}
if (!PAGE.runs.length) sayTrouble("This session has no runs.");
else if (typeof DecompressionStream === "undefined" || !Object.hasOwn) sayTrouble("This browser is too old for this page: it needs DecompressionStream and Object.hasOwn (Chrome 93, Firefox 113, Safari 16.4).");
else showRun(Math.max(0, Math.min(PAGE.first, PAGE.runs.length - 1))).catch((error) => sayTrouble(`This page is damaged: ${error.message}`));
