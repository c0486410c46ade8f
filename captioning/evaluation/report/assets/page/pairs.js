// Two runs, picture by picture: every picture a dot, and the differences.
"use strict";

const SIDE = 360;
const LAYERS = 24; // paths that share the dots, so that crowded places look darker

// Pictures that both runs scored, from the largest loss to the largest gain.
function pairsOf(key) {
  const pairs = [];
  for (let index = 0; index < TOTAL; index += 1) {
    const [a, b] = [scoreOf(0, key, index), scoreOf(1, key, index)];
    if (a !== null && b !== null) pairs.push({index, a, b, difference: b - a});
  }
  return pairs.sort((one, other) => one.difference - other.difference);
}

// Numbers to places in the square, for both axes alike.
function scaleOf(pairs, whole) {
  const bins = binsOf([pairs.map((pair) => pair.a), pairs.map((pair) => pair.b)], whole);
  const end = bins.from + bins.size * bins.step;
  return {bins, place: (value) => ((value - bins.from) / (end - bins.from)) * SIDE};
}

function scatter(key) {
  const pairs = pairsOf(key);
  const {bins, place} = scaleOf(pairs, WHOLE.get(key));
  for (const pair of pairs) [pair.x, pair.y] = [place(pair.a), SIDE - place(pair.b)];
  const layers = Array.from({length: Math.min(LAYERS, pairs.length)}, () => "");
  pairs.forEach((pair, i) => {
    layers[i % layers.length] += `M${pair.x.toFixed(1)} ${pair.y.toFixed(1)}h0`;
  });
  const ring = draw("circle", {class: "ring", r: 6, visibility: "hidden"});
  const svg = draw(
    "svg",
    {viewBox: `-26 -6 ${SIDE + 34} ${SIDE + 34}`, "aria-hidden": "true"},
    draw("rect", {class: "ground", width: SIDE, height: SIDE}),
    draw("line", {class: "zero", x1: 0, y1: SIDE, x2: SIDE, y2: 0}),
    layers.map((path) => draw("path", {class: pairs.length > 1500 ? "dots many" : "dots", d: path})),
    ring,
    axisWords(bins),
  );
  const better = pairs.filter((pair) => pair.difference > 0).length;
  const worse = pairs.filter((pair) => pair.difference < 0).length;
  const label = REPORT.metrics[key].label;
  const peek = make("a", {class: "peek", href: "#/", hidden: true, tabindex: "-1"});
  const box = make("div", {
    class: "scatter", role: "slider", tabindex: "0",
    "aria-label": `${label} of both runs for every picture. ` +
      "Arrows move from the largest loss to the largest gain, Enter opens the picture.",
    "aria-valuemin": "1", "aria-valuemax": String(pairs.length),
  }, svg, peek);
  wakeDots({box, svg, ring, peek, pairs, key});
  const [up, down] = [better, worse].map((amount) => amount.toLocaleString("en"));
  const words = `B is higher for ${up}, lower for ${down} of ${count(pairs.length, "picture")}. ` +
    "Each dot is a picture; on the line both runs are equal.";
  return make("figure", {}, box, make("figcaption", {}, words));
}

function axisWords(bins) {
  const end = bins.from + bins.size * bins.step;
  const text = (value) => String(Number(value.toPrecision(3))).replace("-", "−");
  const word = (x, y, anchor, said, turn = null) =>
    draw("text", {class: "tick", x, y, "text-anchor": anchor, transform: turn}, said);
  return [
    word(0, SIDE + 16, "start", text(bins.from)),
    word(SIDE, SIDE + 16, "end", text(end)),
    word(SIDE / 2, SIDE + 18, "middle", `A: ${shortName(0)}`),
    word(-8, 10, "end", text(end)),
    word(0, 0, "middle", `B: ${shortName(1)}`, `translate(-12 ${SIDE / 2}) rotate(-90)`),
  ];
}

function shortName(run) {
  const name = RUNS[run].name;
  return name.length > 28 ? `${name.slice(0, 27)}…` : name;
}

// Pointing at a dot shows its picture, a click opens it; arrows do the same.
function wakeDots({box, svg, ring, peek, pairs, key}) {
  let at = pairs.length - 1;
  const show = (next) => {
    at = Math.min(pairs.length - 1, Math.max(0, next));
    const {index, a, b, x, y} = pairs[at];
    const values = `A ${number(a, false, WHOLE.get(key))}, B ${number(b, false, WHOLE.get(key))}`;
    ring.setAttribute("visibility", "visible");
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    box.setAttribute("aria-valuenow", String(at + 1));
    box.setAttribute("aria-valuetext", `${titleOf(index)}: ${values}. ${altOf(index)}`);
    peek.replaceChildren(
      thumbnail(index, ""),
      make("span", {class: "peek-words"}, make("b", {}, values), RUNS.map((run, i) =>
        make("span", {class: "line", dir: "auto"}, badge(i), run.captions[index] ?? "no caption"))),
    );
    peek.href = addressOf(index);
    peek.hidden = false;
    peek.classList.toggle("left", x > SIDE / 2);
    peek.classList.toggle("low", y < SIDE / 2);
  };
  const nearest = (event) => {
    const place = svg.getBoundingClientRect();
    const scale = (SIDE + 34) / place.width;
    const x = (event.clientX - place.left) * scale - 26;
    const y = (event.clientY - place.top) * scale - 6;
    let best = 0;
    let least = Infinity;
    pairs.forEach((pair, i) => {
      const away = (pair.x - x) ** 2 + (pair.y - y) ** 2;
      if (away < least) [best, least] = [i, away];
    });
    return best;
  };
  svg.addEventListener("pointermove", (event) => show(nearest(event)));
  svg.addEventListener("click", (event) => {
    show(nearest(event));
    if (event.pointerType !== "touch") location.hash = peek.getAttribute("href");
  });
  box.addEventListener("pointerleave", () => { peek.hidden = true; });
  box.addEventListener("blur", () => { peek.hidden = true; });
  box.addEventListener("focus", () => {
    if (box.matches(":focus-visible")) show(at);
  });
  box.addEventListener("keydown", (event) => {
    const far = stepOf(event.key, pairs.length);
    if (far) show(at + far);
    else if (event.key === "Enter") location.hash = addressOf(pairs[at].index);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// The interval of a difference on a line with zero in the middle.
function interval({low, high, difference}) {
  const most = Math.max(Math.abs(low), Math.abs(high), 1e-12) * 1.08;
  const x = (value) => 70 + (value / most) * 66;
  return draw(
    "svg",
    {class: "interval", viewBox: "0 0 140 18", "aria-hidden": "true"},
    draw("line", {class: "zero", x1: 70, x2: 70, y1: 0, y2: 18}),
    draw("line", {class: "range", x1: x(low), x2: x(high), y1: 9, y2: 9}),
    draw("circle", {class: "point", cx: x(difference), cy: 9, r: 4}),
  );
}
