"use strict";
// The leaderboard of a data set: tabs by group of metrics, rows that filter and sort; baselines in a block of their own.

const HEADLINE = "headline";

function groupsOf(section) {
  return [HEADLINE, ...new Set(section.columns.map(column => column.group))];
}

function columnsOf(section, group) {
  return section.columns.map((column, at) => ({ ...column, at }))
    .filter(column => group === HEADLINE ? column.leading : column.group === group);
}

// Rows any of whose words (name, tags) hold any of the words asked for.
function visibleRows(section, state) {
  const asked = state.filter.toLowerCase().split(/[\s,]+/).filter(Boolean);
  return section.rows.filter(row => {
    const words = [row.label, row.baseline ? "baseline" : "", ...DATA.variants[row.variant].tags].join(" ").toLowerCase();
    return !asked.length || asked.some(word => words.includes(word));
  });
}

// Sorted by what `key` gives, rows without it last.
function sortedRows(rows, key, up) {
  const sign = up ? 1 : -1;
  return [...rows].sort((a, b) => {
    const x = key(a), y = key(b);
    if (x == null || y == null) return (x == null) - (y == null);
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  });
}

function leaderboard(section, state, changed, show) {
  const box = element("div"), count = element("span", { class: "soft", role: "status" });

  function draw() {
    const columns = columnsOf(section, state.group), by = columns.find(column => column.name === state.sort);
    let rows = visibleRows(section, state);
    count.textContent = rows.length < section.rows.length ? `${rows.length} of ${section.rows.length} rows` : "";
    if (state.group !== HEADLINE) rows = rows.filter(row => columns.some(column => row.cells[column.at]));
    if (by || state.sort === "") rows = sortedRows(rows, row => by ? row.cells[by.at]?.value : row.label, state.up);
    const bodies = [["", rows.filter(row => !row.baseline)], ["Baselines", rows.filter(row => row.baseline)]]
      .filter(([, block]) => block.length).map(([name, block]) => body(name, block, columns));
    box.replaceChildren(
      element("div", { class: "wide" }, element("table", { class: "leaderboard" }, head(columns), bodies)),
      rows.length ? "" : element("p", { class: "soft" }, "No row matches."),
      ...section.notes.map(note => element("p", { class: "soft note" }, note)),
      element("details", { class: "soft" }, element("summary", {}, "What these columns are"),
        element("dl", {}, columns.map(c => [element("dt", {}, c.name), element("dd", {}, c.about || c.group)]))));
  }

  function head(columns) {
    const cells = [{ name: "", title: "variant", unit: "", about: "" }, ...columns].map(column => {
      const order = column.name !== state.sort ? "none" : state.up ? "ascending" : "descending";
      return element("th", { "aria-sort": order, title: column.about, scope: "col" },
        element("button", { type: "button", onclick: () => sort(column) }, column.title), element("small", {}, column.unit));
    });
    return element("thead", {}, element("tr", {}, cells));
  }

  // The first click shows the best first, the next one the worst.
  function sort(column) {
    state.up = state.sort === column.name ? !state.up : column.better !== "higher";
    state.sort = column.name;
    draw();
  }

  function body(name, rows, columns) {
    const title = element("tr", { class: "block" }, element("th", { scope: "rowgroup" }, name),
      columns.length ? element("td", { colspan: columns.length }) : null);
    return element("tbody", { class: name ? "baselines" : null }, name ? title : null, rows.map(row => element("tr", {},
      element("th", { scope: "row" }, element("button", { type: "button", onclick: () => show(row.variant) }, row.label)),
      columns.map(column => {
        const cell = row.cells[column.at];
        return element("td", {}, number(cell, cell?.best));
      }))));
  }

  const filter = element("input", { type: "search", placeholder: "filter: names or tags", "aria-label": "filter rows",
    value: state.filter, oninput: event => { state.filter = event.target.value; draw(); changed(); } });
  draw();
  return element("section", { class: "board" },
    element("div", { class: "bar" },
      tabs("group of metrics", groupsOf(section), state.group, group => { state.group = group; draw(); }), filter, count),
    box);
}
