// Elements, text and numbers. Text from the session becomes text nodes only, never markup.

const NS = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function put(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "look") for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const el = (tag, props, ...children) => put(document.createElement(tag), props, children);
const svg = (tag, props, ...children) => put(document.createElementNS(NS, tag), props, children);

function panel(title, props, ...children) {
  const { aside, ...others } = props || {};
  return el("section", { ...others, class: `panel ${others.class || ""}` },
    el("h2", {}, title), aside ? el("div", { class: "aside" }, aside) : null, ...children);
}

const MARKS = { " ": "␣", "\n": "↵", "\t": "⇥" };
const UNSAFE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;
const LONGEST = 2000;

/** A token's text with visible blanks; what cannot be seen, or reorders its neighbours, is escaped. */
function token(text, cut = 60) {
  const shown = el("bdi", { class: "token" });
  if (!text) return put(shown, {}, [el("i", {}, '""')]);
  let run = "";
  const letters = [...text.slice(0, LONGEST)];
  for (const letter of letters.slice(0, cut)) {
    const mark = MARKS[letter] || (UNSAFE.test(letter) ? escaped(letter) : null);
    if (mark === null) { run += letter; continue; }
    if (run) shown.append(run);
    run = "";
    shown.append(el("i", {}, mark));
  }
  shown.append(run, letters.length > cut ? "…" : "");
  if (letters.length > cut) shown.title = text.slice(0, LONGEST);
  return shown;
}

function escaped(letter) {
  const code = letter.codePointAt(0).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
}

/** Running text: its blanks stay, what reorders or hides text does not. */
const prose = (text) => String(text).replace(/[^\P{C}\n\t]/gu, escaped);

/** A probability, in at most five characters. */
function percent(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value >= 0.9995) return "100%";
  if (value >= 0.09995) return `${(value * 100).toFixed(1)}%`;
  if (value >= 0.00005) return `${(value * 100).toFixed(2)}%`;
  return value > 0 ? "<.01%" : "0%";
}

/** Any other measured number, in few characters. */
function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.01 && size < 100000) return size < 100 ? String(Number(value.toPrecision(3))) : value.toFixed(0);
  return value.toExponential(1).replace("e+", "e");
}

const points = (value) => (value === null ? "–" : `${value >= 0 ? "+" : "−"}${Math.abs(value * 100).toFixed(1)} points`);

function bar(share, kind) {
  const width = Math.min(Math.max(share || 0, 0), 1) * 100;
  return el("span", { class: `bar ${kind || ""}` }, el("b", { look: { width: `${width > 0 ? Math.max(width, 2) : 0}%` } }));
}

const words = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

function copyButton(text) {
  const button = el("button", { class: "small", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "select it and copy";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  } }, "copy");
  return button;
}

/** A word of the glossary, which explains itself where it stands. */
function term(word, shown) {
  const meaning = PAGE.about.terms.find(([name]) => name === word);
  if (!meaning) return el("span", {}, shown || word);
  return el("button", { class: "term", title: meaning[1], onclick: (event) => {
    event.stopPropagation();
    explain(event.currentTarget, meaning);
  } }, shown || word);
}

function explain(at, [word, meaning]) {
  byId("hint").replaceChildren(el("strong", {}, word), " ", meaning);
  const box = at.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, innerWidth - 340));
  put(byId("hint"), { look: { left: `${left + scrollX}px`, top: `${box.bottom + scrollY + 6}px` } }, []);
  byId("hint").hidden = false;
}
