// The first view: what was captioned by what, the scores at a glance, search, sorting, the wall.
"use strict";

const TILES = 6;
const tools = {};

function buildGallery() {
  const view = document.getElementById("gallery");
  wall.grid = make("ol", {class: "wall", role: "list", onkeydown: moveFocus});
  tools.status = make("p", {class: "status", role: "status"});
  tools.none = make("p", {class: "empty", hidden: true}, "No picture is like that.");
  view.append(
    aboutRuns(),
    HAS_SCORES ? tiles() : "",
    make("div", {class: "tools", role: "search"}, searchField(), sortField(), onlyField()),
    make("div", {class: "statusline"}, tools.status, tools.range = make("span", {})),
    wall.grid,
    tools.none,
  );
  addEventListener("scroll", oncePerFrame(fillWall), {passive: true});
  let width = 0;
  new ResizeObserver(oncePerFrame(() => {
    if (wall.grid.clientWidth && wall.grid.clientWidth !== width) layWall();
    width = wall.grid.clientWidth || width;
  })).observe(wall.grid);
}

// ---- heading ----

const FACTS = {
  model: "Model",
  data: "Data",
  split: "Split",
  search: "Search",
  written: "Result of",
  pictures: "Pictures",
};

function aboutRuns() {
  const names = RUNS.map((run, i) =>
    make("h1", {}, TWO ? badge(i) : null, make("span", {dir: "auto"}, run.name)));
  const said = RUNS.map((run) => {
    const pictures = run.captions.filter((caption) => caption !== null).length;
    return [...Object.entries(run.facts), ["pictures", pictures.toLocaleString("en")]];
  });
  const facts = said.map((some) => make("dl", {class: "facts"},
    some.map(([key, value]) =>
      make("div", {}, make("dt", {}, FACTS[key]), make("dd", {dir: "auto"}, value)))));
  const alike = TWO && JSON.stringify(said[0]) === JSON.stringify(said[1]);
  const heads = names.map((name, i) => make("div", {}, name, alike ? null : facts[i]));
  const shared = alike ? facts[0] : null;
  return make("header", {class: TWO ? "about two" : "about"}, heads, shared, coverage());
}

// What is not as it should be.
function coverage() {
  const missing = Object.keys(PICTURES.missing).length;
  const both = RUNS[0].captions.filter((c, i) => c !== null && RUNS[1]?.captions[i] !== null).length;
  const notes = [];
  if (TWO && both < TOTAL) {
    const share = `${both.toLocaleString("en")} of ${count(TOTAL, "picture")}`;
    notes.push(`Only ${share} were captioned by both; a comparison is about these.`);
  }
  if (missing) {
    notes.push(`${missing.toLocaleString("en")} of ${count(TOTAL, "picture")} cannot be shown.`);
  }
  return notes.length ? make("p", {class: "notice"}, notes.join(" ")) : null;
}

// ---- scores at a glance ----

function tiles() {
  const keys = [...new Set(MAIN)].filter((key) =>
    SCORED.includes(key) && RUNS.some((run) => key in run.overall));
  return make("div", {class: "tiles"}, keys.slice(0, TILES).map(tile));
}

function tile(key) {
  const {label, about} = REPORT.metrics[key];
  const values = RUNS.map((run, i) =>
    make("span", {class: "value"}, TWO ? badge(i) : null, overallText(run, key)));
  const sort = [`d:${key}`, `a:${key}`, `b:${key}`].find((name) => SORTS.has(name));
  return make(
    "button",
    {
      type: "button",
      class: "tile",
      title: [about, "A click sorts by it, another one turns the order."].filter(Boolean).join(". "),
      onclick: () => change({sort, dir: ask.sort === sort && !goesUp() ? "up" : ""}),
    },
    make("span", {class: "label"}, label),
    make("span", {class: "values"}, values),
    sparkline(key),
  );
}

// ---- search, sorting, choice ----

function searchField() {
  tools.search = make("input", {
    type: "search", id: "search",
    placeholder: HAS_REFERENCES ? "Search captions and references" : "Search captions",
    title: "Words, \"several words\", -without",
    autocomplete: "off", spellcheck: "false", enterkeyhint: "search",
    oninput: () => change({q: tools.search.value}),
  });
  const places = {all: "everywhere", captions: "captions only", references: "references only"};
  tools.in = make(
    "select",
    {"aria-label": "Where to search", onchange: () => change({in: tools.in.value})},
    Object.entries(places).map(([value, text]) => make("option", {value}, text)),
  );
  return make("div", {class: "field grow"},
    make("label", {for: "search", class: "unseen"}, "Search"),
    tools.search, HAS_REFERENCES ? tools.in : null);
}

function sortField() {
  const groups = new Map();
  for (const [value, {label, group}] of SORTS) {
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(make("option", {value}, label));
  }
  tools.sort = make(
    "select",
    {id: "sort", onchange: () => change({sort: tools.sort.value, dir: ""})},
    [...groups].map(([label, some]) => (label ? make("optgroup", {label}, some) : some)),
  );
  const turn = () => change({dir: goesUp() ? "down" : "up"});
  tools.dir = make("button", {type: "button", class: "quiet", onclick: turn});
  return make("div", {class: "field"}, make("label", {for: "sort"}, "Sort by"), tools.sort, tools.dir);
}

function onlyField() {
  const choices = [["", "all"]];
  if (HAS_WRONG) choices.push(["wrong", "absent objects"]);
  if (TWO) choices.push(["differ", "different captions"]);
  tools.only = make("select", {id: "only", onchange: () => change({only: tools.only.value})},
    choices.map(([value, text]) => make("option", {value}, text)));
  if (choices.length === 1) return null;
  return make("div", {class: "field"}, make("label", {for: "only"}, "Show"), tools.only);
}

// The words on the direction button.
function direction() {
  const up = goesUp();
  if (SORTS.get(ask.sort).value) return up ? "↑ lowest first" : "↓ highest first";
  if (ask.sort === "file") return up ? "↑ A to Z" : "↓ Z to A";
  return up ? "↑ first to last" : "↓ last to first";
}

// Something was typed or chosen: a new list at the same step of the browser's history.
function change(asked) {
  Object.assign(ask, asked);
  history.replaceState(history.state, "", writeQuery());
  showList();
  const hidden = headHeight() - wall.grid.getBoundingClientRect().top;
  if (hidden > 0) scrollBy(0, -hidden - GAP); // the new list from its beginning
}

function showList() {
  updateList();
  for (const name of ["in", "sort", "only"]) tools[name].value = ask[name];
  if (tools.search.value !== ask.q) tools.search.value = ask.q;
  tools.dir.textContent = direction();
  const all = list.length === TOTAL;
  tools.status.textContent = all ? count(TOTAL, "picture")
    : `${list.length.toLocaleString("en")} of ${count(TOTAL, "picture")}`;
  tools.none.hidden = list.length > 0;
  tools.range.replaceChildren(...rangeChip());
  layWall();
}

// "CIDEr 1.2 to 1.4 ×": what was chosen in a histogram, to be taken back.
function rangeChip() {
  if (!ask.metric) return [];
  const run = ask.run === "d" ? ", B − A" : "";
  const [from, to] = [ask.from, ask.to].map((end) => (end === "" ? "" : number(Number(end))));
  const ends = from && to ? `${from} to ${to}` : from ? `from ${from}` : `below ${to}`;
  const {label} = REPORT.metrics[ask.metric];
  const chip = make(
    "button",
    {type: "button", class: "chip", onclick: () => change({metric: "", run: "", from: "", to: ""})},
    `${label}${run}: ${ends} `,
    make("span", {"aria-hidden": "true"}, "×"),
    make("span", {class: "unseen"}, "take this choice back"),
  );
  return [chip];
}
