// Small builders. Text from data only ever becomes text nodes and attributes, never HTML.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return node;
}

// make("p", {class: "note"}, "text", node, ...): an element of HTML.
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// The same for SVG.
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// 0.1234 -> "0.123", 12.34 -> "12.34", -1 -> "−1.000"; nothing -> "–"; whole: no decimals.
function number(value, signed = false, whole = false) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const digits = whole || size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3;
  const exactly = {minimumFractionDigits: digits, maximumFractionDigits: digits};
  const text = size.toLocaleString("en", exactly);
  if (!/[1-9]/.test(text)) return text; // nothing has no sign
  return (value < 0 ? "−" : signed ? "+" : "") + text;
}

function count(amount, one, many = one + "s") {
  return `${amount.toLocaleString("en")} ${amount === 1 ? one : many}`;
}

// A p-value, which is never zero.
function chance(p) {
  if (p === null || p === undefined) return "–";
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}

// Letter and colour of a run: never the colour alone.
function badge(run) {
  return make("span", {class: `badge run-${run}`, "aria-hidden": "true"}, "AB"[run]);
}

// Text with the words that were searched for marked.
function withMarks(text, pattern) {
  if (!pattern || !text) return [text];
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(pattern)) {
    if (!found[0]) continue;
    nodes.push(text.slice(end, found.index), make("mark", {}, found[0]));
    end = found.index + found[0].length;
  }
  return [...nodes, text.slice(end)];
}

// Until the next time the browser draws, however often it is asked for.
function oncePerFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}
