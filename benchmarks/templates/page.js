"use strict";
// What the page shows of the data beside it: one data set at a time, the one its address names (#digits), else the first.

const DATA = JSON.parse(document.getElementById("data").textContent);
let redraw = () => {};

function paragraphs(title, texts) {
  return texts.length ? element("section", {}, heading(title), texts.map(text => element("p", {}, text))) : "";
}

function view() {
  const named = decodeURIComponent(location.hash.slice(1));
  const section = DATA.sections.find(one => one.id === named) ?? DATA.sections[0];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash.slice(1) === section?.id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!section) return;
  const state = section.state ??= { group: HEADLINE, filter: "", sort: null, up: true };
  const [chart, drawChart] = charts(section, state);
  const [each, drawCards, show] = cards(section);
  const [pair, drawPair] = sideBySide(section, state);
  const board = leaderboard(section, state, drawChart, show);
  document.getElementById("view").replaceChildren(
    element("p", { class: "facts" }, section.facts), board, chart, gallery(section, state), each, pair);
  redraw = () => { drawChart(); drawCards(); drawPair(); };
  drawChart();                                              // in the document first: a plot takes the width of its place
  drawPair();
}

document.getElementById("head").append(
  element("h1", {}, DATA.title), element("p", { class: "soft" }, "Made by ", element("code", {}, DATA.command)),
  element("nav", { "aria-label": "data sets" }, DATA.sections.map(one => element("a", { href: `#${one.id}` }, one.dataset))));
document.getElementById("foot").append(
  paragraphs("How to read it", [DATA.caption]),
  paragraphs("Failed trials", DATA.failures.map(([what, why]) => [`${what}: `, element("code", {}, why)])),
  paragraphs("Where it ran", DATA.environments));
addEventListener("hashchange", view);
dark.addEventListener("change", () => redraw());
view();
