// Numbers on the patches of the picture, row by row.

const STEPS = 8;
const COVER = [0.24, 0.42, 0.48, 0.54, 0.6, 0.66, 0.72, 0.78];

/** The picture's tokens as boxes, in sheets of which each can be shown at once. */
function patchesOf(reading, run) {
  const picture = run.question.picture;
  if (!reading || reading.how === "none" || !picture) return null;
  const count = reading.tokens.shape[0];
  const all = Array.from({ length: count }, (_, at) => ({
    position: reading.tokens.values[at],
    box: Array.from(reading.boxes.values.subarray(4 * at, 4 * at + 4)),
    tile: reading.tile.values[at], row: reading.row.values[at], column: reading.column.values[at],
  }));
  const usable = all.filter(({ box }) => box.every((edge) => Number.isFinite(edge) && Math.abs(edge) < 1e9) && box[0] < box[2] && box[1] < box[3]);
  const frames = [];
  const sheets = [];
  for (const tile of new Set(usable.map((each) => each.tile))) {
    const members = usable.filter((each) => each.tile === tile);
    const frame = members.reduce((whole, { box }) => whole.map((edge, side) => (side < 2 ? Math.min : Math.max)(edge, box[side])), [...members[0].box]);
    let at = frames.findIndex((others) => others.every((other) => overlap(frame, other) <= 0.1));
    if (at < 0) { at = frames.length; frames.push([]); sheets.push([]); }
    frames[at].push(frame);
    sheets[at].push(...members);
  }
  return sheets.length ? { sheets, exact: reading.how === "exact", reason: reading.reason } : null;
}

function overlap(one, other) {
  const shared = Math.max(Math.min(one[2], other[2]) - Math.max(one[0], other[0]), 0) * Math.max(Math.min(one[3], other[3]) - Math.max(one[1], other[1]), 0);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return shared / Math.max(Math.min(area(one), area(other)), 1e-9);
}

function patchName(patch, sheet) {
  if (patch.row < 0 || patch.column < 0) return `token ${patch.position}`;
  const mine = sheet.filter((each) => each.tile === patch.tile);
  const wide = mine.reduce((most, each) => Math.max(most, each.column + 1), 0);
  const high = mine.reduce((most, each) => Math.max(most, each.row + 1), 0);
  const tiles = new Set(sheet.map((each) => each.tile)).size;
  return `${tiles > 1 ? `tile ${patch.tile + 1}, ` : ""}patch ${patch.column + 1},${patch.row + 1} of ${wide}×${high}`;
}

/** Every map that a run has: a name, a unit, and the numbers of a row by position. */
function mapsOf(known) {
  const found = Object.entries(MAPPED).flatMap(([method, make]) => known.run.readings.filter((each) => each.method === method).flatMap((each) => make(each, known.run)));
  const shown = known.patches ? known.patches.sheets.flat().map((each) => each.position) : [];
  return found.map((each) => scaled(each, shown)).filter((each) => each.high > 0);
}

function gathered(name, unit, rows, positions, valueAt, more) {
  const index = new Map(positions.map((position, at) => [position, at]));
  const map = { name, unit, rows, high: 0, ...more };
  map.value = (row, position) => {
    const line = rows.indexOf(row);
    const column = index.get(position);
    return line < 0 || column === undefined ? NaN : valueAt(line, column);
  };
  return map;
}

/** Set a map's scale, the same for all its rows, from its cells on the picture. */
function scaled(map, positions) {
  for (const row of map.rows) {
    for (const position of positions) {
      const value = map.value(row, position);
      if (!Number.isFinite(value)) continue;
      map.high = Math.max(map.high, value);
      if (map.signed) map.high = Math.max(map.high, -value);
    }
  }
  return map;
}

const asText = { p: percent, weight: percent, nats: (value) => `${number(value)} nats`, "": number };

function wordMaps(reading) {
  const [, rows, places] = reading.probability.shape;
  return reading.words.map((word, index) => gathered(`word ${prose(word.text)}`, "p", reading.rows, reading.positions,
    (row, column) => reading.probability.values[(index * rows + row) * places + column]));
}

function gridMaps(reading) {
  const places = reading.positions.length;
  const at = (row, column) => row * places + column;
  const make = (name, unit, value, more) => gathered(name, unit, reading.rows, reading.positions, value, more);
  const best = (row, column) => Math.exp(reading.logits.values[at(row, column)] - reading.lse.values[at(row, column)]);
  const maps = [
    make("best token", "p", best),
    make("entropy", "nats", (row, column) => reading.entropy.values[at(row, column)]),
  ];
  if (reading.kl_to_last) maps.push(make("KL to the last row", "nats", (row, column) => reading.kl_to_last.values[at(row, column)]));
  return maps;
}

function attentionMaps(reading, run) {
  const layers = reading.layers.filter((each) => each.keys === "tokens" && each.map);
  const cells = Array.from(reading.cells.values);
  if (!layers.length || !cells.length) return [];
  const means = layers.map((each) => meanOverHeads(each.map, cells.length));
  const unit = reading.request.way === "weight" || !reading.request.way ? "weight" : "";
  const name = { contribution: "attention, what arrives", relative: "attention, against a neutral prompt" }[reading.request.way] || "attention";
  const of = layers.map((each) => each.layer);
  const map = gathered(reading.position === run.position ? name : `${name} from ${reading.position}`, unit, of, cells, (row, column) => means[row][column]);
  const { value } = map;
  // Layer l takes row l to row l + 1; the last row belongs to the last layer.
  map.layerOf = (row) => Math.min(row, run.layers - 1);
  map.value = (row, position) => value(map.layerOf(row), position);
  map.where = (row) => `layer ${map.layerOf(row)}, mean over its heads`;
  return [map];
}

function meanOverHeads(array, cells) {
  const heads = array.shape.length === 2 ? array.shape[0] : 1;
  const mean = new Float32Array(cells);
  for (let head = 0; head < heads; head += 1) for (let at = 0; at < cells; at += 1) mean[at] += array.values[head * cells + at] / heads;
  return mean;
}

function saliencyMaps(reading) {
  const cells = Array.from(reading.cells.values);
  const way = reading.request.way || "gradient";
  const layer = reading.request.row;
  const map = gathered(`saliency, ${way}${layer === null || layer === undefined ? "" : `, row ${layer}`}`, "", [0], cells, (_, column) => reading.map.values[column]);
  map.signed = Array.from(reading.map.values).some((value) => value < 0);
  const { value } = map;
  map.value = (_, position) => value(0, position);
  map.where = () => "the same for all rows";
  return [map];
}

/** The methods whose readings can be laid over the picture, in the order in which they are offered. */
const MAPPED = { words: wordMaps, saliency: saliencyMaps, attention: attentionMaps, grid: gridMaps };

/** Which of the eight steps a value has; -1 where there is none. */
function stepOf(map, value, log) {
  if (!Number.isFinite(value)) return -1;
  const size = map.signed ? Math.abs(value) : value;
  const low = log ? Math.max(map.high / 1e4, 1e-38) : 0;
  const share = log ? Math.log(Math.max(size, low) / low) / Math.log(map.high / low) : size / map.high;
  return Math.max(0, Math.min(STEPS - 1, Math.floor(share * STEPS)));
}
