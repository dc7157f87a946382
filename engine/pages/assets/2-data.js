// The session inside the page: runs are unpacked when they are first shown.

const PAGE = JSON.parse(byId("lenscope-page").textContent);
const KINDS = { "<f4": Float32Array, "<i4": Int32Array, "<i2": Int16Array, "<u1": Uint8Array };
const unpackedRuns = new Map();

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}

async function inflated(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Response(stream).arrayBuffer();
}

async function unpacked(id) {
  const whole = await inflated(bytesOf(JSON.parse(byId(id).textContent)), "gzip");
  return JSON.parse(new TextDecoder().decode(whole));
}

/** Whether a reading is drawn, not only listed: another may be of a newer version, or of any size. */
const isDrawn = ({ method }) => ["answer", "geometry"].includes(method) || Object.hasOwn(MAPPED, method);

/** Decode every array in a reading, so that drawing never has to wait. */
async function decode(value) {
  if (Array.isArray(value)) {
    if (typeof value[0] === "object") await Promise.all(value.map(decode));
    return;
  }
  if (value === null || typeof value !== "object") return;
  if (typeof value.dtype === "string" && typeof value.data === "string" && Array.isArray(value.shape)) {
    const bytes = bytesOf(value.data);
    const plain = value.deflate ? await inflated(bytes, "deflate") : bytes.buffer;
    value.values = new KINDS[value.dtype](plain);
    delete value.data;
    return;
  }
  await Promise.all(Object.values(value).map(decode));
}

async function loadRun(index) {
  if (!unpackedRuns.has(index)) {
    const [run, shown] = await Promise.all([unpacked(`lenscope-run-${index}`), unpacked(`lenscope-shown-${index}`)]);
    await decode(run.readings.filter(isDrawn));
    unpackedRuns.set(index, new Known(run, shown));
    if (unpackedRuns.size > 12) unpackedRuns.delete(unpackedRuns.keys().next().value);
  }
  return unpackedRuns.get(index);
}

/** A run, and what follows from its records. */
class Known {
  constructor(run, shown) {
    this.run = run;
    this.shown = shown;
    this.answer = run.status === "done" && run.rows.length ? run.rows.at(-1).top[0] || null : null;
    this.hues = new Map();
    for (const row of run.rows) if (row.top[0]) this.hue(row.top[0].id);
    for (const each of run.tracked) if (each.why === "user") this.hue(each.id);
    this.whole = this.reading("answer");
    this.grid = run.readings.filter((each) => each.method === "grid").sort((a, b) => b.positions.length - a.positions.length)[0];
    this.patches = patchesOf(this.reading("geometry"), run);
  }

  reading(method) {
    return this.run.readings.filter((each) => each.method === method).at(-1) || null;
  }

  hue(id) {
    if (!this.hues.has(id)) this.hues.set(id, this.hues.size % HUES);
    return this.hues.get(id);
  }

  /** The class that gives a token its colour. */
  colour(id) {
    if (this.answer && this.answer.id === id) return "answer";
    return this.hues.has(id) ? `hue-${this.hues.get(id) + 1}` : "";
  }

  /** The rows at a position: of the run, of a visit, of the whole answer, or of the grid. */
  at(position) {
    const { run } = this;
    if (position === run.position) return { rows: run.rows, tracked: run.tracked };
    const visited = run.others.find((each) => each.position === position);
    if (visited) return visited;
    const step = position - run.tokens.length + 1;
    const own = run.position === run.tokens.length - 1;
    if (this.whole && own && step > 0 && step < this.whole.tokens.shape[0]) return { rows: answerRows(this.whole, step), tracked: [] };
    const column = this.grid ? this.grid.positions.indexOf(position) : -1;
    return column < 0 ? null : { rows: gridRows(this.grid, column), tracked: [] };
  }

  tokenAt(position) {
    const { tokens } = this.run;
    if (position < tokens.length) return tokens[position].text;
    const step = position - tokens.length;
    return this.whole ? this.whole.texts[this.whole.tokens.values[step]] || "" : "";
  }
}

function gridRows(grid, column) {
  const [, places, top] = grid.ids.shape;
  return grid.rows.map((layer, row) => {
    const at = row * places + column;
    const logit = grid.top_logits ? (k) => grid.top_logits.values[at * top + k] : () => grid.logits.values[at];
    const best = Array.from({ length: top }, (_, k) => candidate(grid.texts, grid.ids.values[at * top + k], logit(k), grid.lse.values[at]));
    return { layer, top: best, entropy: grid.entropy.values[at], rms: grid.rms.values[at], kl_to_last: grid.kl_to_last ? grid.kl_to_last.values[at] : null, answer: null };
  });
}

function answerRows(reading, step) {
  const [, rows, top] = reading.ids.shape;
  return Array.from({ length: rows }, (_, layer) => {
    const at = step * rows + layer;
    const best = Array.from({ length: top }, (__, k) => candidate(reading.texts, reading.ids.values[at * top + k], reading.logits.values[at * top + k], reading.lse.values[at]));
    return { layer, top: best, entropy: reading.entropy.values[at], rms: reading.rms.values[at], kl_to_last: null, answer: null };
  });
}

const candidate = (texts, id, logit, lse) => ({ id, text: texts[id] ?? "", probability: Math.exp(logit - lse), logit });
