// The second view: all numbers, whether they are more than chance, and how they are distributed.
"use strict";

const FIRST = 12; // rows of the table before the rest is folded away

function buildScores() {
  document.getElementById("scores").append(
    make("h1", {}, "Scores"),
    make("div", {class: "panels"}, wholeTable(), TWO ? chanceTable() : null),
    distributions(),
    REPORT.comparison?.metrics ? pairwise() : "",
  );
}

function panel(title, words, ...content) {
  const intro = words ? make("p", {class: "soft"}, words) : null;
  return make("section", {class: "panel"}, make("h2", {}, title), intro, content);
}

function tableOf(head, rows) {
  const parts = [make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)];
  return make("div", {class: "scroll"}, make("table", {}, parts));
}

function headCell(text, kind = null) {
  return make("th", {scope: "col", class: kind}, text);
}

// The heads of the runs' columns: A and B, for the ear "run A" and "run B".
function runHeads(kind = "number") {
  if (!TWO) return [headCell("Score", kind)];
  return [0, 1].map((run) =>
    headCell([badge(run), make("span", {class: "unseen"}, `run ${"AB"[run]}`)], kind));
}

// ---- the whole set ----

function wholeTable() {
  const keys = METRICS.filter((key) => RUNS.some((run) => key in run.overall));
  const rows = keys.map(wholeRow);
  const table = (some) =>
    tableOf([headCell("Metric"), runHeads(), headCell("What it measures", "wide")], some);
  const legend = RUNS.map((run, i) =>
    make("span", {class: "legend"}, badge(i), make("span", {dir: "auto"}, run.name)));
  const more = rows.length - FIRST;
  return panel(
    "The whole set",
    null,
    TWO ? make("p", {class: "legends"}, legend) : null,
    table(rows.slice(0, FIRST)),
    more > 0
      ? make("details", {}, make("summary", {}, `${more} more`), table(rows.slice(FIRST))) : null,
  );
}

function wholeRow(key) {
  const {label, about, better} = REPORT.metrics[key];
  const words = [about, better < 0 ? "lower is better" : ""].filter(Boolean).join("; ");
  return make(
    "tr",
    {},
    make("th", {scope: "row"}, label),
    RUNS.map((run) => make("td", {class: "number"}, overallText(run, key))),
    make("td", {class: "soft wide"}, words),
  );
}

// Counts have no decimals.
function overallText(run, key) {
  const whole = RUNS.every((one) => Number.isInteger(one.overall[key] ?? 0));
  return number(run.overall[key], false, whole);
}

// ---- more than chance? ----

function chanceTable() {
  const {pictures, metrics, refused} = REPORT.comparison ?? {refused: "one of them has no scores"};
  const title = "More than chance?";
  if (refused) return panel(title, `These runs were not compared: ${refused}.`);
  const words =
    `The ${count(pictures, "picture")} that both runs captioned, compared one by one. ` +
    "A difference counts when the 95 % interval (bootstrap over the pictures) leaves zero out " +
    "and a paired t-test gives p below 0.05. One test in twenty does so by luck.";
  const head = [
    headCell("Mean of pictures"),
    runHeads("number aside"),
    headCell("B − A", "number"),
    headCell("95 % interval"),
    headCell("p", "number aside"),
    headCell("Verdict"),
  ];
  const keys = METRICS.filter((key) => key in metrics);
  return panel(title, words, tableOf(head, keys.map((key) => chanceRow(key, metrics[key]))));
}

function chanceRow(key, row) {
  const {label, better} = REPORT.metrics[key];
  const [words, kind] = verdictOf(row, better);
  const ends = `${number(row.low, true)} to ${number(row.high, true)}`;
  return make(
    "tr",
    {},
    make("th", {scope: "row"}, label),
    [row.a, row.b].map((mean) => make("td", {class: "number aside"}, number(mean))),
    make("td", {class: "number"}, number(row.difference, true)),
    make("td", {class: "range-cell"}, interval(row), make("span", {class: "ends aside"}, ends)),
    make("td", {class: "number aside"}, chance(row.p)),
    make("td", {class: `verdict ${kind}`}, words),
  );
}

// A difference counts when the interval leaves zero out and the t-test agrees.
function verdictOf({difference, p, low, high}, better) {
  if (difference === 0 && low === high) return ["no difference", ""];
  if ((low <= 0 && high >= 0) || p >= 0.05) return ["could be chance", ""];
  if (better === 0) return [difference > 0 ? "B is higher" : "B is lower", "clear"];
  return [difference * better > 0 ? "B is better" : "A is better", "clear"];
}

// ---- distributions ----

function distributions() {
  const words =
    `How many pictures have which score${TWO ? "; A as bars, B as a line" : ""}. ` +
    "Triangles: means. A click on a bar shows its pictures.";
  const charts = SCORED.map(distribution);
  return panel("Distribution of each score", words, make("div", {class: "charts"}, charts));
}

function distribution(key) {
  const runs = [...RUNS.keys()].filter((run) => key in RUNS[run].scores);
  const {label, about} = REPORT.metrics[key];
  const chart = histogram({
    label,
    whole: WHOLE.get(key),
    classes: runs.map((run) => `run-${run}`),
    columns: runs.map((run) => RUNS[run].scores[key]),
    pick: (from, to) => openRange({metric: key, run: "", from, to}),
  });
  return chartWith(label, about, chart);
}

function chartWith(label, about, ...content) {
  const words = [make("b", {}, label), make("span", {class: "soft"}, ` ${about}`)];
  return make("figure", {class: "chart"}, make("figcaption", {}, words), content);
}

function openRange(range) {
  Object.assign(ask, PLAIN, range, {sort: `${range.run || "a"}:${range.metric}`});
  if (!SORTS.has(ask.sort)) ask.sort = "order";
  location.hash = writeQuery();
}

// ---- two runs, picture by picture ----

function pairwise() {
  const keys = SCORED.filter((key) => SORTS.has(`d:${key}`));
  const place = make("div", {class: "pairwise"});
  const show = (key) => place.replaceChildren(scatter(key), differences(key));
  const choice = make(
    "select",
    {id: "pair-metric", onchange: () => show(choice.value)},
    keys.map((key) => make("option", {value: key}, REPORT.metrics[key].label)),
  );
  choice.value = keys.includes("CIDEr") ? "CIDEr" : keys[0];
  show(choice.value);
  const field = make("div", {class: "field"}, make("label", {for: "pair-metric"}, "Score"), choice);
  return panel("Picture by picture", null, field, place);
}

function differences(key) {
  const label = `${REPORT.metrics[key].label}, B − A`;
  const column = Array.from({length: TOTAL}, (_, index) => differenceOf(key, index));
  const chart = histogram({
    label,
    columns: [column],
    classes: ["both"],
    whole: WHOLE.get(key),
    pick: (from, to) => openRange({metric: key, run: "d", from, to}),
  });
  const sort = encodeURIComponent(`d:${key}`);
  const link = (dir, words) => make("a", {href: `#/?sort=${sort}&dir=${dir}`}, words);
  const links = [link("down", "Pictures that gain most"), link("up", "Pictures that lose most")];
  const about = "how many pictures gain or lose how much";
  return chartWith(label, about, chart, make("p", {class: "links"}, links));
}
