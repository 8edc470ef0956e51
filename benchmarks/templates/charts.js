"use strict";
// Interactive charts, drawn by Plotly: a colour and a symbol a variant, the same in every chart.

const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b5679b", "#a07d00", "#3a9bdc", "#8a4f2c", "#6a51a3", "#4d4d4d", "#c02942"];
const DARK = ["#56a8e8", "#f28e4b", "#3ccfa0", "#e39bc9", "#e0c04a", "#9ad0f5", "#c98f6a", "#a996e0", "#b8b8b8", "#f0708a"];
const SYMBOLS = ["circle", "square", "triangle-up", "cross", "star", "hexagon"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(hover: none)");                   // there, dragging scrolls the page and does not zoom

function styleOf(section, row) {
  const at = section.rows.indexOf(row), colours = dark.matches ? DARK : LIGHT;
  return { color: colours[at % colours.length],
    symbol: row.baseline ? "diamond-open" : SYMBOLS[Math.floor(at / colours.length) % SYMBOLS.length] };
}

function axis(title, more = {}) {
  const line = cssColour("--line");
  return { title: { text: title, standoff: 12, font: { size: 13 } }, gridcolor: line, zeroline: false, linecolor: line, automargin: true, ...more };
}

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function plot(box, traces, layout) {
  const ink = cssColour("--ink"), narrow = box.clientWidth < 640;
  return Plotly.react(box, traces, {
    height: 440 + (narrow ? 20 * traces.length : 0), margin: { l: 60, r: 16, t: 16, b: 56 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, color: ink, size: 13 },
    hoverlabel: { bgcolor: cssColour("--raised"), bordercolor: cssColour("--line"), font: { color: ink } },
    legend: narrow ? { orientation: "h", y: -0.25, yanchor: "top" } : {}, dragmode: touch.matches ? false : "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: cssColour("--soft"), activecolor: ink },
    ...layout,
  }, { responsive: true, displaylogo: false, displayModeBar: touch.matches ? false : "hover", plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"] });       // nothing leaves the page
}

function titleOf(column) {
  return `${column.title}  [${column.unit}]`;
}

function find(section, name) {
  const at = section.columns.findIndex(column => column.name === name);
  return at < 0 ? null : { ...section.columns[at], at };
}

function errorBars(box, section, rows, column) {
  const shown = sortedRows(rows.filter(row => row.cells[column.at]), row => row.cells[column.at].value,
    column.better !== "higher");
  const traces = shown.map(row => {
    const cell = row.cells[column.at], style = styleOf(section, row);
    return { x: [cell.value], y: [row.label], name: row.label, mode: "markers", marker: { ...style, size: 10 },
      error_x: { type: "data", array: [cell.error || 0], color: style.color, thickness: 1.6, width: 5 },
      hovertemplate: `${row.label}<br>${cell.text} ${column.unit}<extra></extra>` };
  });
  return plot(box, traces, { height: 90 + 30 * Math.max(3, shown.length), showlegend: false, xaxis: axis(titleOf(column)),
    yaxis: axis("", { autorange: "reversed", type: "category" }) });
}

// One column against another; `under` are traces behind the points.
function scatter(box, section, rows, x, y, under = [], log = false) {
  const traces = rows.filter(row => row.cells[x.at] && row.cells[y.at]).map(row => {
    const across = row.cells[x.at], up = row.cells[y.at], style = styleOf(section, row);
    const bar = cell => ({ type: "data", array: [cell.error || 0], color: style.color, thickness: 1.2, width: 3 });
    return { x: [across.value], y: [up.value], name: row.label, mode: "markers", marker: { ...style, size: 11 },
      error_x: bar(across), error_y: bar(up),
      hovertemplate: `<b>${row.label}</b><br>${x.name} ${across.text} ${x.unit}<br>${y.name} ${up.text} ${y.unit}<extra></extra>` };
  });
  return plot(box, [...under, ...traces], { showlegend: true,
    xaxis: axis(titleOf(x), log ? { type: "log", tickformat: "~s", nticks: 6 } : {}), yaxis: axis(titleOf(y)) });
}

// Rate against distortion, over lines of equal ELBO = -(rate + distortion).  Source: Alemi et al. 2018, figure 1.
function rateDistortion(box, section, rows) {
  const rate = find(section, "rate"), distortion = find(section, "distortion");
  const points = rows.filter(row => row.cells[rate.at] && row.cells[distortion.at])
    .map(row => [row.cells[distortion.at].value, row.cells[rate.at].value]);
  const across = points.map(([d]) => d), up = points.map(([, r]) => r), sums = points.map(([d, r]) => d + r);
  const [left, right, low, high] = [Math.min(...across), Math.max(...across), Math.min(...up), Math.max(...up)];
  const pad = 0.15 * Math.max(right - left, high - low, 1e-3), lines = 5;
  const levels = Array.from({ length: lines }, (_, i) =>
    Math.min(...sums) - pad + (Math.max(...sums) - Math.min(...sums) + 2 * pad) * i / (lines - 1));
  const along = Array.from({ length: 41 }, (_, i) => left - pad + (right - left + 2 * pad) * i / 40);     // to hover over
  const under = points.length ? levels.map(sum => ({
    x: along, y: along.map(d => sum - d), mode: "lines", showlegend: false, opacity: 0.45,
    line: { color: cssColour("--soft"), width: 1, dash: "dot" }, hovertemplate: `ELBO ${(-sum).toFixed(1)}<extra></extra>`,
  })) : [];
  return scatter(box, section, rows, distortion, rate, under).then(() => points.length && Plotly.relayout(box,
    { "xaxis.range": [left - pad, right + pad], "yaxis.range": [Math.max(0, low - pad), high + pad] }));
}

// Validation ELBO over steps. The first quarter does not set the scale.
function trainingCurves(box, section, rows) {
  const shown = rows.filter(row => section.curves[row.variant]);
  const traces = shown.map(row => {
    const points = section.curves[row.variant];
    return { x: points.map(([step]) => step), y: points.map(([, , valid]) => valid), name: row.label,
      mode: "lines+markers", line: { color: styleOf(section, row).color, width: 1.8 }, marker: { size: 5 },
      hovertemplate: `%{y:.2f} at step %{x}<extra>${row.label}</extra>` };
  });
  return plot(box, traces, { showlegend: true, xaxis: axis("step"),
    yaxis: axis("validation ELBO  [nats]", { range: lateRange(traces.map(trace => trace.y)) }) });
}

// Training and validation ELBO of one variant.
function ownCurve(box, section, variant) {
  const points = section.curves[variant], { color } = styleOf(section, section.rows.find(row => row.variant === variant));
  const trace = (name, at, line) => ({ x: points.map(([step]) => step), y: points.map(point => point[at]), name, mode: "lines",
    line: { color, width: 1.8, ...line }, hovertemplate: "%{y:.2f} at step %{x}<extra>" + name + "</extra>" });
  const traces = [trace("training", 1, { dash: "dot" }), trace("validation", 2)];
  return plot(box, traces, { height: 260, showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    margin: { l: 50, r: 8, t: 28, b: 44 }, xaxis: axis("step"),
    yaxis: axis("ELBO  [nats]", { range: lateRange(traces.map(t => t.y.filter(v => v != null))) }) });
}

function lateRange(series) {
  const late = series.flatMap(values => values.slice(Math.floor(values.length / 4)));
  const low = Math.min(...late), high = Math.max(...late), margin = 0.08 * (high - low) + 1e-3;
  return late.length ? [low - margin, high + margin] : undefined;
}

// The panel: tabs of charts, and the choice of what is on their axes. Returns [element, draw]; call draw when it is shown.
function charts(section, state) {
  const box = element("div", { class: "plot" }), controls = element("div", { class: "bar" });
  const directed = section.columns.filter(column => column.better !== "none");
  const quality = directed.filter(column => column.group !== "cost").map(column => column.name);
  const cost = directed.filter(column => column.group === "cost").map(column => column.name);
  const kinds = [["errors", "Error bars"],
    find(section, "rate") && find(section, "distortion") && ["rate", "Rate and distortion"],
    quality.length && cost.length && ["cost", "Quality and cost"],
    Object.keys(section.curves).length && ["training", "Training"]].filter(Boolean);
  const names = section.columns.map(column => column.name);
  const first = section.columns.find(column => column.leading)?.name;
  state.chart ??= "errors";
  state.metric ??= first ?? names[0];
  state.quality ??= quality.includes(first) ? first : quality[0];
  state.cost ??= cost.find(name => find(section, name).leading) ?? cost[0];
  const choice = (label, options, key) => select(label, options, state[key], name => { state[key] = name; draw(); });

  function draw() {
    const rows = visibleRows(section, state);
    if (state.chart === "errors") return errorBars(box, section, rows, find(section, state.metric));
    if (state.chart === "rate") return rateDistortion(box, section, rows);
    if (state.chart === "training") return trainingCurves(box, section, rows);
    return scatter(box, section, rows, find(section, state.cost), find(section, state.quality), [], true);
  }

  function controlled() {
    controls.replaceChildren(...{
      errors: [choice("metric", names, "metric")],
      cost: [choice("quality", quality, "quality"), choice("against", cost, "cost")],
      rate: [element("span", { class: "soft" }, "Dotted: equal ELBO = −(rate + distortion).")],
      training: [element("span", { class: "soft" }, "The first seed of each.")] }[state.chart]);
  }

  controlled();
  const choose = kind => { state.chart = kind; Plotly.purge(box); controlled(); draw(); };
  return [element("section", {}, heading("Charts", tabs("chart", kinds, state.chart, choose)), controls, box), draw];
}
