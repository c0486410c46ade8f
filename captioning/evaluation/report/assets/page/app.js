// Which view is shown: #/ the pictures, #/scores, #/picture/ID. The browser's back button works.
"use strict";

const seen = {view: "", picture: undefined, scroll: new Map(), scores: false, gallery: ""};

function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split(/\?(.*)/s);
  const parts = path.split("/").filter(Boolean);
  if (parts[0] === "picture" && parts.length > 1) {
    return {view: "picture", index: INDEX.get(decoded(parts.slice(1).join("/")))};
  }
  if (parts[0] === "scores" && HAS_SCORES) return {view: "scores"};
  return {view: "gallery", query};
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function show() {
  if (location.hash === "#main" && seen.view) return; // the link past the header
  const {view, index, query} = route();
  if (seen.view) seen.scroll.set(seen.view, scrollY);
  const before = seen.view;
  seen.view = view;
  for (const one of ["gallery", "scores", "picture"]) {
    document.getElementById(one).hidden = one !== view;
  }
  if (view === "gallery") {
    readQuery(query);
    const same = seen.gallery === writeQuery();
    showList();
    returnTo(before, same);
  } else if (view === "scores") {
    if (!seen.scores) buildScores();
    seen.scores = true;
    scrollTo(0, seen.scroll.get("scores") ?? 0);
  } else {
    showPicture(index);
    seen.picture = index;
    scrollTo(0, 0);
  }
  seen.gallery = writeQuery();
  nameView(view, index);
  if (before && view !== "gallery") document.getElementById("main").focus({preventScroll: true});
}

// Back on the wall: where the reader was, the picture that was open has the focus.
function returnTo(before, same) {
  scrollTo(0, same ? seen.scroll.get("gallery") ?? 0 : 0);
  fillWall();
  if (before === "picture" && seen.picture !== undefined) focusPlace(list.indexOf(seen.picture));
}

function nameView(view, index) {
  const words = [RUNS.map((run) => run.name).join(" and "), "Caption report"];
  if (view === "scores") words.unshift("Scores");
  if (view === "picture" && index !== undefined) words.unshift(titleOf(index));
  document.title = words.join(" · ");
  for (const link of document.querySelectorAll("#views a")) {
    if (link.dataset.view === "gallery") link.href = writeQuery();
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// ---- keys: / search, arrows through the pictures, Escape back ----

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
  const typing = event.target.closest?.("input, select, textarea, [role=slider]");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    if (seen.view !== "gallery") location.hash = writeQuery();
    requestAnimationFrame(() => tools.search.focus());
  } else if (seen.view === "picture" && !typing) {
    const link = {ArrowLeft: "[rel=prev]", ArrowRight: "[rel=next]", Escape: ".back"}[event.key];
    if (link) document.querySelector(`#picture .steps ${link}`)?.click();
  }
}

function buildTheme() {
  const button = document.getElementById("theme");
  const words = {auto: "Colours: system", light: "Colours: light", dark: "Colours: dark"};
  const label = () => { button.textContent = words[document.documentElement.dataset.theme]; };
  button.addEventListener("click", () => {
    useTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
    label();
  });
  label();
}

function start() {
  const views = [["gallery", "#/", "Pictures"], ["scores", "#/scores", "Scores"]];
  const links = views.map(([view, href, text]) => make("a", {href, "data-view": view}, text));
  if (HAS_SCORES) document.getElementById("views").append(...links);
  const keys = {"/": "search", "← ↑ ↓ →": "from picture to picture", Enter: "open", Esc: "back"};
  const hints = Object.entries(keys).map(([key, does]) => [make("kbd", {}, key), ` ${does} `]);
  document.querySelector(".foot").append(
    make("p", {class: "keys"}, hints),
    make("p", {}, `Written on ${REPORT.written}. The page loads nothing from outside its folder.`),
  );
  buildTheme();
  buildGallery();
  history.scrollRestoration = "manual";
  addEventListener("hashchange", show);
  addEventListener("keydown", onKey);
  show();
  const ready = () => performance.mark("report-ready"); // drawn, and free for the reader
  requestAnimationFrame(() => setTimeout(ready));
}

start();
