// The third view: one picture, everything that was said about it, and its scores.
"use strict";

const OPEN_SAMPLES = 6; // so many further captions are shown at once
const LONG = 200; // letters: more than a sentence is not set large

function showPicture(index) {
  const view = document.getElementById("picture");
  if (index === undefined) {
    const link = make("a", {href: writeQuery()}, "All pictures");
    view.replaceChildren(make("p", {class: "empty"}, "There is no such picture in this report. ", link));
    return;
  }
  const left = [bigPicture(index), references(index)];
  const right = [RUNS.map((_, run) => saying(run, index)), scoreTable(index)];
  const columns = [make("div", {class: "left"}, left), make("div", {class: "right"}, right)];
  view.replaceChildren(steps(index), make("div", {class: "spread"}, columns));
}

// ---- from picture to picture ----

function steps(index) {
  let place = list.indexOf(index);
  if (place < 0) { // opened by its address, outside of what is searched for
    Object.assign(ask, PLAIN);
    showList();
    place = list.indexOf(index);
  }
  const where = `${(place + 1).toLocaleString("en")} of ${list.length.toLocaleString("en")}`;
  const word = (text) => make("span", {class: "word"}, text);
  return make(
    "nav",
    {class: "steps", "aria-label": "From picture to picture"},
    make("a", {class: "step back", href: writeQuery()}, "All pictures"),
    make("span", {class: "soft"}, where),
    step(list[place - 1], "prev", ["← ", word("Previous")]),
    step(list[place + 1], "next", [word("Next"), " →"]),
  );
}

function step(index, rel, words) {
  if (index === undefined) return make("span", {class: "step off", "aria-hidden": "true"}, words);
  return make("a", {class: "step", href: addressOf(index), rel}, words);
}

function bigPicture(index) {
  const [file, id] = [PICTURES.files[index], PICTURES.ids[index]];
  const words = [
    make("h1", {dir: "auto"}, titleOf(index)),
    file && file !== id ? make("span", {}, `id ${id}`) : null,
    PICTURES.missing[index] ? make("span", {}, PICTURES.missing[index]) : null,
  ];
  const mat = make("div", {class: "mat"}, thumbnail(index, altOf(index)));
  return make("figure", {class: "big"}, mat, make("figcaption", {class: "soft"}, words));
}

// ---- what was said ----

function saying(run, index) {
  const {captions, hallucinated, name} = RUNS[run];
  const wrong = hallucinated[index];
  const both = RUNS.every((one) => one.captions[index]);
  const kind = captions[index]?.length > LONG ? "sentence long" : "sentence";
  return make(
    "section",
    {class: `panel saying run-${run}`},
    make("h2", {}, TWO ? badge(run) : null, make("span", {dir: "auto"}, name)),
    make("p", {class: kind, dir: "auto"}, sentence(run, index, captions[index], both)),
    wrong ? make("p", {class: "not-there"}, `Not in the picture: ${wrong.join(", ")}.`) : null,
    run === 1 && both
      ? make("p", {class: "soft small"}, "Shaded: words that the other caption does not have.") : null,
    furtherCaptions(run, index),
  );
}

function sentence(run, index, caption, both) {
  if (!caption) return noCaption(caption);
  return captionNodes(run, index, TWO && both ? ownWords(run, index) : null);
}

function wordsOf(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}'’]+/gu) || [];
}

// Words that the other run does not say, as a pattern.
function ownWords(run, index) {
  const other = new Set(wordsOf(RUNS[1 - run].captions[index]));
  const own = wordsOf(RUNS[run].captions[index]).filter((word) => !other.has(word));
  const words = [...new Set(own)].join("|");
  const letter = "[\\p{L}\\p{N}'’]";
  return words ? new RegExp(`(?<!${letter})(?:${words})(?!${letter})`, "giu") : null;
}

function furtherCaptions(run, index) {
  const some = RUNS[run].samples[index];
  if (!some) return null;
  const summary = make("summary", {}, count(some.length, "further caption"));
  const lines = make("ol", {class: "samples"}, some.map(sampleLine));
  return make("details", {open: some.length <= OPEN_SAMPLES}, summary, lines);
}

function sampleLine({caption, ...scores}) {
  const told = Object.entries(scores).map(([key, value]) => {
    const label = REPORT.metrics[key]?.label ?? key;
    return `${label} ${number(value)}`;
  });
  const words = make("span", {class: "soft", dir: "ltr"}, told.join(", "));
  return make("li", {dir: "auto"}, caption || noCaption(caption), " ", words);
}

function references(index) {
  const some = PICTURES.references[index];
  if (!some.length) return null;
  const title = make("h2", {}, count(some.length, "reference"));
  const lines = some.map((text) => make("li", {dir: "auto"}, withMarks(text, searchPattern())));
  return make("section", {class: "panel references"}, title, make("ul", {}, lines));
}

// ---- scores ----

// Share of the run's pictures that score lower; those that score the same count half.
function rankOf(run, key, value) {
  const column = RUNS[run].scores[key].filter((other) => other !== null);
  const lower = column.filter((other) => other < value).length;
  const same = column.filter((other) => other === value).length;
  return (lower + same / 2) / column.length;
}

// Where a picture stands among the others: a dot for A, a diamond for B.
function track(index, key) {
  const marks = RUNS.map((_, run) => {
    const value = scoreOf(run, key, index);
    if (value === null) return null;
    const x = 6 + rankOf(run, key, value) * 88;
    if (run === 0) return draw("circle", {class: "point run-0", cx: x, cy: 8, r: 4.5});
    return draw("path", {class: "point run-1", d: `M${x} 2.2l5.2 5.8l-5.2 5.8l-5.2 -5.8z`});
  });
  return draw(
    "svg",
    {class: "track", viewBox: "0 0 100 16", "aria-hidden": "true"},
    draw("line", {x1: 3, x2: 97, y1: 8, y2: 8}),
    draw("line", {x1: 50, x2: 50, y1: 4, y2: 12}),
    marks,
  );
}

function scoreTable(index) {
  const keys = SCORED.filter((key) => RUNS.some((_, run) => scoreOf(run, key, index) !== null));
  if (!keys.length) return null;
  const difference = TWO ? headCell("B − A", "number") : null;
  const head = [headCell("Metric"), runHeads(), difference, headCell("Among all", "among")];
  const words =
    "“Among all”: where it stands among the pictures of its run, from the lowest score to the " +
    "highest; the tick is the middle.";
  return make(
    "section",
    {class: TWO ? "panel two" : "panel"},
    make("h2", {}, HAS_SCORES ? "Scores of this picture" : "What the model says"),
    tableOf(head, keys.map((key) => scoreRow(index, key))),
    make("p", {class: "soft small among"}, words),
  );
}

function scoreRow(index, key) {
  const {label, about} = REPORT.metrics[key];
  const whole = WHOLE.get(key);
  const cell = (value, signed) => make("td", {class: "number"}, number(value, signed, whole));
  return make(
    "tr",
    {},
    make("th", {scope: "row", title: about}, label),
    RUNS.map((_, run) => cell(scoreOf(run, key, index), false)),
    TWO ? cell(differenceOf(key, index), true) : null,
    make("td", {class: "among"}, track(index, key)),
  );
}
