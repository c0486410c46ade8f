// What the page knows: columns of data.js, and which pictures are shown in which order.
"use strict";

const RUNS = REPORT.runs;
const PICTURES = REPORT.pictures;
const TOTAL = PICTURES.ids.length;
const TWO = RUNS.length === 2;
const INDEX = new Map(PICTURES.ids.map((id, index) => [id, index]));
const METRICS = Object.keys(REPORT.metrics); // in reading order
const SCORED = METRICS.filter((key) => RUNS.some((run) => key in run.scores));
const HAS_SCORES = RUNS.some((run) => Object.keys(run.overall).length > 0);
const HAS_REFERENCES = PICTURES.references.some((some) => some.length > 0);
const HAS_WRONG = RUNS.some((run) => Object.keys(run.hallucinated).length > 0);
const MAIN = ["CIDEr", "SPICE", "METEOR", "ROUGE_L", "Bleu_4", "facts", "CHAIRi", "Bleu_1", ...SCORED];
const WHOLE = new Map(SCORED.map((key) => [key, isWhole(key)]));

function isWhole(key) {
  return RUNS.every((run) => (run.scores[key] || []).every((v) => v === null || Number.isInteger(v)));
}

function scoreOf(run, key, index) {
  return RUNS[run].scores[key]?.[index] ?? null;
}

function differenceOf(key, index) {
  const [first, second] = [scoreOf(0, key, index), scoreOf(1, key, index)];
  return first === null || second === null ? null : second - first;
}

function titleOf(index) {
  return PICTURES.files[index] || `picture ${PICTURES.ids[index]}`;
}

function addressOf(index) {
  return `#/picture/${encodeURIComponent(PICTURES.ids[index])}`;
}

function altOf(index) {
  return RUNS.map((run) => run.captions[index]).find((caption) => caption) || titleOf(index);
}

// ---- what is asked for: the part of the address behind the question mark ----

const PLAIN = {
  q: "", in: "all", only: "", sort: "order", dir: "", metric: "", run: "", from: "", to: "",
};
const CHOICES = {
  in: ["all", "captions", "references"],
  only: ["", "wrong", "differ"],
  dir: ["", "up", "down"],
  run: ["", "d"],
};
const ask = {...PLAIN};

function readQuery(query) {
  const given = new URLSearchParams(query);
  for (const name of Object.keys(PLAIN)) ask[name] = given.get(name) ?? PLAIN[name];
  for (const [name, some] of Object.entries(CHOICES)) {
    if (!some.includes(ask[name])) ask[name] = PLAIN[name];
  }
  if (!SORTS.has(ask.sort)) ask.sort = "order";
  if (!SCORED.includes(ask.metric)) ask.metric = "";
}

function writeQuery() {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(ask)) if (value !== PLAIN[name]) said.set(name, value);
  const text = said.toString();
  return text ? `#/?${text}` : "#/";
}

// ---- order: name of a sorting -> its words, group, value of a picture ----

const SORTS = new Map([["order", {label: "order of the captions", group: ""}]]);
if (PICTURES.files.some(Boolean)) SORTS.set("file", {label: "file name", group: ""});
for (const [letter, run] of [["a", 0], ["b", 1]].slice(0, RUNS.length)) {
  for (const key of SCORED) {
    if (!(key in RUNS[run].scores)) continue;
    const value = (index) => scoreOf(run, key, index);
    const group = TWO ? `${"AB"[run]}: ${RUNS[run].name}` : "Score";
    SORTS.set(`${letter}:${key}`, {label: REPORT.metrics[key].label, group, key, value});
  }
}
if (TWO) {
  for (const key of SCORED.filter((key) => RUNS.every((run) => key in run.scores))) {
    const value = (index) => differenceOf(key, index);
    const group = "Difference B − A";
    SORTS.set(`d:${key}`, {label: `${REPORT.metrics[key].label}, B − A`, group, key, value});
  }
}

// The score that the cards show: the sorted one, else the first of the usual.
function shownKey() {
  const sorted = SORTS.get(ask.sort).key;
  return sorted || MAIN.find((key) => SCORED.includes(key)) || null;
}

function goesUp() {
  return (ask.dir || (SORTS.get(ask.sort).value ? "down" : "up")) === "up";
}

function ordered(indices) {
  const {value} = SORTS.get(ask.sort);
  const sign = goesUp() ? 1 : -1;
  if (ask.sort === "file") {
    const compare = new Intl.Collator("en", {numeric: true}).compare;
    indices.sort((a, b) => sign * compare(titleOf(a), titleOf(b)) || a - b);
  } else if (!value) {
    if (sign < 0) indices.reverse();
  } else {
    const values = new Map(indices.map((index) => [index, value(index)]));
    indices.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (x - y) || a - b;
    });
  }
  return indices;
}

// ---- search ----

const JOINED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;

// What was typed, in terms: words, "several words", and -words that must not occur.
function termsOf(text) {
  const found = text.normalize("NFC").matchAll(/(-?)(?:"([^"]*)"?|(\S+))/gu);
  return [...found]
    .map(([, minus, phrase, word]) => ({without: minus !== "", text: (phrase ?? word).trim()}))
    .filter((term) => term.text);
}

// Words match from their beginning: "kit" finds kite, not skit.
function patternOf(text) {
  const literal = text.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&").replace(/\s+/gu, "\\s+");
  const starts = /^[\p{L}\p{N}]/u.test(text) && !JOINED.test(text[0]);
  return (starts ? "(?<![\\p{L}\\p{N}])" : "") + literal;
}

// What is marked in the captions.
function searchPattern() {
  const terms = termsOf(ask.q).filter((term) => !term.without);
  return terms.length ? new RegExp(terms.map((t) => patternOf(t.text)).join("|"), "giu") : null;
}

const texts = new Map(); // where is searched: the text of every picture

function textsOf(where) {
  if (!texts.has(where)) texts.set(where, PICTURES.ids.map((_, index) => textOf(index, where)));
  return texts.get(where);
}

function textOf(index, where) {
  const captions = RUNS.flatMap((run) => [
    run.captions[index] || "",
    ...(run.samples[index] || []).map((sample) => sample.caption),
  ]);
  const parts = where === "references" ? PICTURES.references[index]
    : where === "captions" ? captions
    : [...captions, ...PICTURES.references[index], titleOf(index)];
  return parts.join("\n").normalize("NFC");
}

// ---- which pictures, in which order ----

let list = []; // indices

function updateList() {
  const terms = termsOf(ask.q).map((t) => [new RegExp(patternOf(t.text), "iu"), t.without]);
  const where = terms.length ? textsOf(ask.in) : [];
  const kept = [];
  for (let index = 0; index < TOTAL; index += 1) {
    const fits = ([pattern, without]) => pattern.test(where[index]) !== without;
    if (isWanted(index) && terms.every(fits)) kept.push(index);
  }
  list = ordered(kept);
}

function isWanted(index) {
  if (ask.only === "wrong" && !RUNS.some((run) => run.hallucinated[index])) return false;
  if (ask.only === "differ" && RUNS[0].captions[index] === RUNS[1]?.captions[index]) return false;
  if (!ask.metric) return true;
  const values = ask.run === "d" ? [differenceOf(ask.metric, index)]
    : RUNS.map((_, run) => scoreOf(run, ask.metric, index));
  return values.some(isInRange);
}

function isInRange(value) {
  if (value === null) return false;
  const {from, to} = ask;
  return (from === "" || value >= Number(from)) && (to === "" || value < Number(to));
}
