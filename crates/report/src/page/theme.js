"use strict";
const root = document.documentElement;
const darkness = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : darkness.matches);
const redraw = [];
const changed = () => redraw.forEach((draw) => draw());
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  changed();
});
darkness.addEventListener("change", changed);
