// The wall of pictures. Only the rows on the screen exist, so 50,000 pictures scroll like 50.
"use strict";

const GAP = 16; // pixels between cards, as in the style sheet
const SPARE = 2; // rows above and below the screen
const wall = {grid: null, columns: 1, width: 0, height: 0, nodes: new Map()};

function thumbnail(index, alt) {
  const reason = PICTURES.missing[index];
  if (reason) {
    const spoken = {role: "img", "aria-label": alt, title: reason};
    return make("span", {class: "nothing", ...spoken}, "no picture");
  }
  return make("img", {src: `thumbnails/${index}.jpg`, alt, decoding: "async", draggable: "false"});
}

// A caption as nodes: what is not in the picture in words and underlined, search words marked.
function captionNodes(run, index, pattern) {
  const pieces = RUNS[run].pieces[index];
  if (!pieces) return withMarks(RUNS[run].captions[index], pattern);
  return pieces.map((piece, i) =>
    i % 2 === 0 ? withMarks(piece, pattern)
      : make("span", {class: "wrong", title: "not in the picture"}, withMarks(piece, pattern),
        make("span", {class: "unseen"}, " (not in the picture)")));
}

function noCaption(caption) {
  return make("i", {class: "soft"}, caption === "" ? "no words at all" : "no caption");
}

function cardOf(index, pattern) {
  const key = shownKey();
  const captions = RUNS.map((run, i) => make(
    "span",
    {class: "caption"},
    TWO ? badge(i) : null,
    run.captions[index]
      ? make("span", {class: "said", dir: "auto"}, captionNodes(i, index, pattern))
      : noCaption(run.captions[index]),
  ));
  return make(
    "a",
    {class: "card", href: addressOf(index), "data-index": index},
    make("span", {class: "mat"}, thumbnail(index, altOf(index))),
    make("span", {class: "captions"}, captions),
    make("span", {class: "figures"}, key ? figures(index, key) : titleOf(index), wrongOf(index)),
  );
}

// The shown score of each run.
function figures(index, key) {
  const values = RUNS.map((_, run) => number(scoreOf(run, key, index), false, WHOLE.get(key)));
  const difference = TWO ? differenceOf(key, index) : null;
  return [
    `${REPORT.metrics[key].label} `,
    make("b", {}, values.join(" → ")),
    difference === null ? null : ` (${number(difference, true, WHOLE.get(key))})`,
  ];
}

function wrongOf(index) {
  const labels = RUNS.flatMap((run) => run.hallucinated[index] || []);
  if (!labels.length) return null;
  return make("span", {class: "not-there"}, ` · not there: ${[...new Set(labels)].join(", ")}`);
}

// ---- the window onto the list ----

function measure() {
  const width = wall.grid.clientWidth;
  if (!width || !list.length) return;
  const least = parseFloat(getComputedStyle(wall.grid).getPropertyValue("--least")) || 220;
  wall.columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  wall.width = (width - GAP * (wall.columns - 1)) / wall.columns;
  const style = `width: ${wall.width}px; visibility: hidden`;
  const probe = make("li", {style}, cardOf(list[0], null));
  wall.grid.append(probe);
  wall.height = probe.offsetHeight + GAP;
  probe.remove();
}

function layWall() {
  wall.nodes.clear();
  wall.grid.replaceChildren();
  measure();
  const rows = Math.ceil(list.length / wall.columns);
  wall.grid.style.height = `${Math.max(0, rows * wall.height - GAP)}px`;
  fillWall();
}

// Make the cards that came into view, drop those that left it.
function fillWall() {
  if (!wall.height || wall.grid.closest("[hidden]")) return;
  const top = -wall.grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / wall.height) - SPARE) * wall.columns;
  const last = (Math.ceil((top + innerHeight) / wall.height) + SPARE) * wall.columns;
  const pattern = searchPattern();
  for (const [place, node] of wall.nodes) {
    if (place < first || place >= last) {
      node.remove();
      wall.nodes.delete(place);
    }
  }
  let before = wall.grid.firstChild;
  for (let place = first; place < Math.min(last, list.length); place += 1) {
    const there = wall.nodes.get(place);
    if (there) {
      before = there.nextSibling;
      continue;
    }
    const node = itemAt(place, pattern);
    wall.nodes.set(place, node);
    wall.grid.insertBefore(node, before);
  }
}

function itemAt(place, pattern) {
  const [row, column] = [Math.floor(place / wall.columns), place % wall.columns];
  const [left, top] = [column * (wall.width + GAP), row * wall.height];
  const size = `width: ${wall.width}px; height: ${wall.height - GAP}px`;
  const item = {
    style: `${size}; transform: translate(${left}px, ${top}px)`,
    "aria-setsize": String(list.length),
    "aria-posinset": String(place + 1),
  };
  return make("li", item, cardOf(list[place], pattern));
}

// What stays at the top of the screen and hides what is behind it.
function headHeight() {
  const stuck = [".bar", ".tools"].map((name) => document.querySelector(name));
  return stuck
    .filter((node) => getComputedStyle(node).position === "sticky")
    .reduce((sum, node) => sum + node.offsetHeight, 0);
}

// Bring a picture into view and put the focus on it.
function focusPlace(place) {
  if (place < 0 || place >= list.length) return;
  const top = wall.grid.getBoundingClientRect().top + Math.floor(place / wall.columns) * wall.height;
  const head = headHeight();
  if (top < head) scrollBy(0, top - head - GAP);
  else if (top + wall.height > innerHeight) scrollBy(0, top + wall.height - innerHeight);
  fillWall();
  wall.nodes.get(place)?.querySelector("a").focus({preventScroll: true});
}

function moveFocus(event) {
  const card = event.target.closest(".card");
  if (!card || event.altKey || event.ctrlKey || event.metaKey) return;
  const place = list.indexOf(Number(card.dataset.index));
  const steps = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wall.columns, ArrowDown: wall.columns,
    Home: -place, End: list.length - 1 - place,
  };
  if (!(event.key in steps)) return;
  event.preventDefault();
  focusPlace(place + steps[event.key]);
}
