// Light, dark, or whatever the system says. Loaded first, so that nothing flashes.
"use strict";

const THEMES = ["auto", "light", "dark"];

function readTheme() {
  try {
    const kept = localStorage.getItem("caption-report-theme");
    return THEMES.includes(kept) ? kept : "auto";
  } catch {
    return "auto"; // a browser that keeps nothing for files
  }
}

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("caption-report-theme", theme);
  } catch {
    // it lasts as long as the page
  }
}

document.documentElement.dataset.theme = readTheme();
