// The picture, tinted by a map of the row, patch by patch.

function picturePanel(state) {
  const { known } = state;
  const { picture, counterfactual } = known.run.question;
  if (!picture) return null;
  const name = prose(picture.path).split(/[\\/]/).at(-1) || "picture";
  const facts = el("p", { class: "faint" }, pictureFacts(known.run));
  const note = counterfactual ? el("p", { class: "warning" }, `The model did not see it: ${prose(counterfactual.name)} stood in its place.`) : null;
  if (!picture.preview) return panel(name, { class: "picture" }, note, el("p", { class: "faint" }, "This page holds no preview of the picture."), facts);
  const canvas = el("canvas", { role: "img", "aria-label": `${name}, tinted by the map` });
  const view = { canvas, image: new Image(), readout: el("p", { class: "readout" }), legend: el("p", { class: "legend" }), row: el("output", {}) };
  state.view = view;
  view.image.onload = () => drawPicture(state);
  view.image.src = `data:image/jpeg;base64,${picture.preview}`;
  canvas.addEventListener("pointermove", (event) => { state.hovered = patchUnder(state, event); drawPicture(state); });
  canvas.addEventListener("pointerleave", () => { state.hovered = null; drawPicture(state); });
  canvas.addEventListener("click", (event) => {
    const patch = patchUnder(state, event);
    if (!patch) return;
    state.framed = state.framed === patch ? null : patch;
    if (known.at(patch.position)) go(state, { position: state.framed ? patch.position : known.run.position });
    else drawPicture(state);
  });
  view.slider = el("input", { type: "range", min: 0, max: known.run.layers, value: state.row, "aria-label": "row", oninput: (event) => go(state, { row: Number(event.target.value) }) });
  return panel(name, { class: "picture" }, note, mapChoices(state), canvas, view.legend,
    el("label", { class: "slider" }, "row", view.slider, view.row), view.readout, facts,
    picture.note ? el("p", { class: "faint" }, prose(picture.note)) : null);
}

function pictureFacts(run) {
  const { picture } = run.question;
  const facts = [`${picture.width}×${picture.height}`];
  if (run.processed) facts.push(` → ${run.processed.width}×${run.processed.height}${run.processed.tiles > 1 ? ` in ${run.processed.tiles} tiles` : ""}`);
  const tokens = run.tokens.filter((each) => each.kind === "image").length;
  return facts.concat(tokens ? [`, ${words(tokens, "token")}`] : []).join("");
}

function mapChoices(state) {
  const { known, maps } = state;
  if (!maps.length) {
    const reading = known.reading("geometry");
    const why = reading && reading.how === "none" ? prose(reading.reason) : "the session does not say which patch is where (method geometry)";
    return !known.patches && known.run.readings.some((each) => Object.hasOwn(MAPPED, each.method)) ? el("p", { class: "faint" }, `No map: ${why}.`) : null;
  }
  const select = el("select", { "aria-label": "map", onchange: (event) => go(state, { map: Number(event.target.value) }) },
    el("option", { value: -1 }, "the picture alone"), maps.map((each, at) => el("option", { value: at }, each.name)));
  select.value = state.map;
  const log = el("label", {}, el("input", { type: "checkbox", checked: state.log, onchange: (event) => go(state, { log: event.target.checked }) }), " log");
  const { sheets } = known.patches;
  const turn = sheets.length > 1 ? el("button", { class: "small", onclick: () => go(state, { sheet: (state.sheet + 1) % sheets.length }) }, `sheet ${state.sheet + 1} of ${sheets.length}`) : null;
  return el("p", { class: "choices" }, select, state.map < 0 ? null : log, turn);
}

function drawPicture(state) {
  const { known, view } = state;
  if (!view || !view.image.naturalWidth) return;
  const { canvas, image } = view;
  const { picture } = known.run.question;
  const sharp = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.round(Math.max(canvas.clientWidth, 1) * sharp);
  canvas.height = Math.max(1, Math.round(canvas.width * image.naturalHeight / image.naturalWidth));
  const pen = canvas.getContext("2d");
  const map = state.maps[state.map];
  pen.filter = map ? "grayscale(0.5)" : "none";
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  pen.filter = "none";
  const scale = [canvas.width / (picture.width || image.naturalWidth), canvas.height / (picture.height || image.naturalHeight)];
  const cornersOf = ({ box }) => box.map((edge, side) => Math.round(edge * scale[side % 2]));
  if (map) {
    for (const patch of known.patches.sheets[state.sheet]) {
      const value = map.value(state.row, patch.position);
      const step = stepOf(map, value, state.log);
      if (step < 0) continue;
      const [x0, y0, x1, y1] = cornersOf(patch);
      pen.globalAlpha = COVER[step];
      pen.fillStyle = map.signed && value < 0 ? COLD[step] : RAMP[step];
      pen.fillRect(x0, y0, x1 - x0, y1 - y0);
    }
    pen.globalAlpha = 1;
  }
  const framed = state.hovered || state.framed;
  if (framed) {
    const [x0, y0, x1, y1] = cornersOf(framed);
    pen.strokeStyle = FRAME;
    pen.lineWidth = 2 * sharp;
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  sayPicture(state, map, framed);
}

function sayPicture(state, map, framed) {
  const { view, known } = state;
  view.slider.value = state.row;
  view.row.textContent = String(state.row);
  view.legend.hidden = !map;
  const text = map ? asText[map.unit] : number;
  if (map) {
    const where = map.where ? map.where(state.row) : map.rows.includes(state.row) ? `in row ${state.row}` : `row ${state.row} was not read`;
    const ends = map.signed ? [text(-map.high), text(map.high)] : [text(state.log ? map.high / 1e4 : 0), text(map.high)];
    const steps = map.signed ? [...COLD].reverse().concat(RAMP) : RAMP;
    view.legend.replaceChildren(el("span", {}, ends[0]), el("span", { class: "ramp" }, steps.map((colour) => el("b", { look: { background: colour } }))),
      el("span", {}, ends[1]), el("span", { class: "faint" }, where));
  }
  if (!framed) {
    view.readout.replaceChildren(el("span", { class: "faint" }, known.patches ? "Point at a patch; a click reads its rows." : ""));
    return;
  }
  const at = known.at(framed.position);
  const row = at && at.rows.find((each) => each.layer === state.row);
  const value = map ? map.value(state.row, framed.position) : NaN;
  view.readout.replaceChildren(patchName(framed, known.patches.sheets[state.sheet]), Number.isFinite(value) ? `  ${text(value)}` : "",
    row && row.top[0] ? el("span", { class: "faint" }, "  best ", el("span", { class: known.colour(row.top[0].id) }, token(row.top[0].text, 16)), ` ${percent(row.top[0].probability)}`) : "");
}

function patchUnder(state, event) {
  const { known, view } = state;
  const { picture } = known.run.question;
  if (!known.patches || !view.image.naturalWidth) return null;
  const box = view.canvas.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * (picture.width || view.image.naturalWidth);
  const y = (event.clientY - box.top) / box.height * (picture.height || view.image.naturalHeight);
  return known.patches.sheets[state.sheet].find(({ box: [x0, y0, x1, y1] }) => x0 <= x && x < x1 && y0 <= y && y < y1) || null;
}
