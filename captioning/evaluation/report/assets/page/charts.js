// Histograms, drawn as SVG from the columns of data.js.
"use strict";

const WIDE = 340;
const HIGH = 110;

// 0.037 -> 0.05: the next of 1, 2, 5 times a power of ten.
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * 0.999);
}

// Equal bins over all columns: {from, step, counts: one list for each column}.
function binsOf(columns, whole) {
  const values = columns.flat().filter((value) => value !== null);
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  let from = low;
  let step = 1;
  if (whole && high - low <= 40) from = low - 0.5;
  else if (low >= 0 && high <= 1 && high > 0.3) [from, step] = [0, 0.05];
  else {
    if (low > 0 && low < 0.4 * high) low = 0;
    step = niceStep(Math.max((high - low) / 28, 1e-9));
    from = Math.floor(low / step) * step;
  }
  const size = Math.max(1, Math.ceil((high - from) / step - 1e-9));
  const counts = columns.map((column) => {
    const tally = new Array(size).fill(0);
    for (const value of column) {
      if (value !== null) tally[Math.min(size - 1, Math.floor((value - from) / step + 1e-9))] += 1;
    }
    return tally;
  });
  return {from, step, size, counts};
}

// Where bin i begins, without the dust of floating point.
function edge(bins, i) {
  return Number((bins.from + i * bins.step).toPrecision(10));
}

// The outline of one column's bars.
function outline(tally, highest, width, height, bars) {
  const across = width / tally.length;
  const gap = bars && tally.length <= 60 ? Math.min(1.5, across * 0.15) : 0;
  let path = "";
  tally.forEach((amount, i) => {
    const top = height - (amount / highest) * height;
    const [left, right] = [i * across + gap / 2, (i + 1) * across - gap / 2];
    if (bars) {
      if (amount) path += `M${left} ${height}V${top}H${right}V${height}Z`;
    } else {
      path += `${i ? "L" : `M0 ${height}L`}${i * across} ${top}H${(i + 1) * across}`;
    }
  });
  return bars ? path : `${path}V${height}`;
}

// Whether all pictures have the same value, so that there is nothing to draw.
function isConstant(columns) {
  const values = new Set(columns.flat().filter((value) => value !== null));
  return values.size <= 1;
}

// Bars for the first column, a line over a pale ground for the second.
function shapes(bins, classes, width, height) {
  const highest = Math.max(1, ...bins.counts.flat());
  return bins.counts.map((tally, i) =>
    draw("path", {class: `shape ${classes[i]}`, d: outline(tally, highest, width, height, i === 0)}),
  );
}

// A small one without axes, for the tiles.
function sparkline(key) {
  const runs = [...RUNS.keys()].filter((run) => key in RUNS[run].scores);
  const columns = runs.map((run) => RUNS[run].scores[key]);
  const box = {viewBox: "0 0 120 28", preserveAspectRatio: "none"};
  const look = {class: "spark", "aria-hidden": "true", ...box};
  if (isConstant(columns)) return draw("svg", look);
  const bins = binsOf(columns, WHOLE.get(key));
  const paths = shapes(bins, runs.map((run) => `run-${run}`), 120, 28);
  return draw("svg", look, paths);
}

// A histogram whose bars can be chosen with mouse and keyboard; `pick(from, to)` gets a bar's ends.
function histogram({label, columns, classes, whole = false, pick}) {
  if (isConstant(columns)) {
    const value = columns.flat().find((one) => one !== null);
    return make("p", {class: "constant"}, `${number(value, false, whole)} for every picture`);
  }
  const bins = binsOf(columns, whole);
  const across = WIDE / bins.size;
  const chosen = draw("rect", {class: "chosen", width: across, height: HIGH, y: 0});
  const zero = (-bins.from / (bins.step * bins.size)) * WIDE;
  const svg = draw(
    "svg",
    {viewBox: `0 -4 ${WIDE} ${HIGH + 22}`, "aria-hidden": "true"},
    draw("line", {class: "axis", x1: 0, x2: WIDE, y1: HIGH, y2: HIGH}),
    zero > 0 && zero < WIDE
      ? draw("line", {class: "zero", x1: zero, x2: zero, y1: 0, y2: HIGH}) : null,
    chosen,
    shapes(bins, classes, WIDE, HIGH),
    columns.map((column, i) => meanMark(column, bins, classes[i])),
    ticks(bins, whole),
  );
  const said = make("p", {class: "readout"});
  const box = make("div", {
    class: "histogram", role: "slider", tabindex: "0",
    "aria-label": `${label}: distribution. Arrows move between bars, Enter shows their pictures.`,
    "aria-valuemin": "1", "aria-valuemax": String(bins.size),
  }, svg, said);
  wakeUp({box, svg, said, bins, chosen, across, whole, pick});
  return box;
}

// What a histogram says and does.
function wakeUp({box, svg, said, bins, chosen, across, whole, pick}) {
  let at = bins.counts[0].indexOf(Math.max(...bins.counts[0]));
  const words = () => {
    const ends = [edge(bins, at), edge(bins, at + 1)];
    const range = whole && bins.step === 1 ? number(Math.ceil(ends[0]), false, true)
      : `${number(ends[0])} to ${number(ends[1])}`;
    const two = bins.counts.length > 1;
    const amounts = bins.counts.map(({[at]: amount}, i) =>
      two ? `${"AB"[i]} ${amount.toLocaleString("en")}` : count(amount, "picture"));
    return `${range}: ${amounts.join(", ")}`;
  };
  const show = (bin) => {
    at = Math.min(bins.size - 1, Math.max(0, bin));
    chosen.setAttribute("x", at * across);
    box.setAttribute("aria-valuenow", String(at + 1));
    box.setAttribute("aria-valuetext", words());
    said.textContent = words();
  };
  const binAt = (event) => {
    const place = svg.getBoundingClientRect();
    return Math.floor(((event.clientX - place.left) / place.width) * bins.size);
  };
  const end = (i) => (i > 0 && i < bins.size ? edge(bins, i) : ""); // the outer bars are open
  const choose = () => pick(end(at), end(at + 1));
  box.addEventListener("pointermove", (event) => show(binAt(event)));
  svg.addEventListener("click", (event) => {
    show(binAt(event));
    choose();
  });
  box.addEventListener("keydown", (event) => {
    const far = stepOf(event.key, bins.size);
    if (far) show(at + far);
    else if (event.key === "Enter" || event.key === " ") choose();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  show(at);
  said.textContent = "";
  box.addEventListener("focus", () => show(at));
  box.addEventListener("pointerleave", () => { said.textContent = ""; });
}

// How far a key moves along a scale, 0 for other keys.
function stepOf(key, all) {
  const steps = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -all, End: all};
  return steps[key] ?? 0;
}

// A triangle below the axis where the mean is; the second one is hollow.
function meanMark(column, bins, name) {
  const values = column.filter((value) => value !== null);
  if (!values.length) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const x = ((mean - bins.from) / (bins.step * bins.size)) * WIDE;
  return draw("path", {class: `mean ${name}`, d: `M${x} ${HIGH + 1}l3.6 6h-7.2z`});
}

function ticks(bins, whole) {
  return [0, 0.5, 1].map((share) => {
    let value = bins.from + share * bins.size * bins.step;
    if (whole && bins.step === 1) value = Math.round(bins.from + 0.5 + share * (bins.size - 1));
    const text = whole || Math.abs(value) >= 100 ? number(Math.round(value), false, true)
      : String(Number(value.toPrecision(3))).replace("-", "−");
    const anchor = ["start", "middle", "end"][share * 2];
    return draw("text", {class: "tick", x: share * WIDE, y: HIGH + 17, "text-anchor": anchor}, text);
  });
}
