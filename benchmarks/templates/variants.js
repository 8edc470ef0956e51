"use strict";
// Pictures of all variants by kind; each variant with its formula; any two of them side by side.

function picture(section, variant, kind, caption) {
  const source = section.pictures[variant]?.[kind];
  const image = () => element("img", { src: source, alt: `${kind} of ${variant}` });
  return source ? element("figure", {}, element("button", { type: "button", onclick: () => enlarge(image()) }, image()),
    element("figcaption", {}, caption)) : null;
}

function enlarge(image) {
  const dialog = element("dialog", { onclick: () => dialog.close(), onclose: () => dialog.remove() }, image);
  document.body.append(dialog);
  dialog.showModal();
}

function gallery(section, state) {
  if (!section.kinds.length) return "";
  const box = element("div", { class: "gallery" });
  state.kind ??= section.kinds[0];
  function draw() {
    box.replaceChildren(...variantsOf(section).map(name => picture(section, name, state.kind, name)).filter(Boolean));
  }
  draw();
  return element("section", {}, heading("Pictures",
    tabs("kind of picture", section.kinds, state.kind, kind => { state.kind = kind; draw(); })), box);
}

function variantsOf(section) {
  return [...new Set(section.rows.map(row => row.variant))];
}

function formula(variant) {
  const known = DATA.variants[variant];
  return [element("pre", {}, known.documentation),
    known.paper ? element("p", {}, element("a", { href: known.url, rel: "noreferrer" }, known.paper), `, ${known.equation}`) : null,
    known.tags.length ? element("p", { class: "soft" }, known.tags.map(tag => tag.replaceAll("_", " ")).join(" · ")) : null];
}

// [element, draw] of a variant's own training curve.
function curve(section, variant) {
  const box = element("div", { class: "plot" });
  return section.curves[variant] ? [box, () => ownCurve(box, section, variant)] : [null, () => {}];
}

function pictures(section, variant) {
  return element("div", { class: "gallery" }, section.kinds.map(kind => picture(section, variant, kind, kind)));
}

// One folded card a variant, filled when it is opened first. Returns [element, redraw, show].
function cards(section) {
  const drawn = [], made = {};
  for (const name of variantsOf(section)) {
    const card = element("details", { class: "card" }, element("summary", {},
      element("b", {}, name), " ", element("span", { class: "soft" }, DATA.variants[name].summary)));
    card.ontoggle = () => {
      if (!card.open || card.children.length > 1) return;
      const [box, draw] = curve(section, name);
      card.append(element("div", { class: "two" }, element("div", {}, formula(name)), box), pictures(section, name));
      draw();
      drawn.push(draw);
    };
    made[name] = card;
  }
  const show = variant => { made[variant].open = true; made[variant].scrollIntoView({ behavior: "smooth" }); };
  return [element("section", {}, heading("Variants"), Object.values(made)), () => drawn.forEach(draw => draw()), show];
}

// Two variants: their pictures, their numbers, the better one in bold, curves and formulas. Returns [element, draw].
function sideBySide(section, state) {
  const labels = section.rows.map(row => row.label), box = element("div");
  if (labels.length < 2) return ["", () => {}];
  state.left ??= labels[0];
  state.right ??= labels[1];

  function draw() {
    const pair = [state.left, state.right].map(label => section.rows.find(row => row.label === label));
    const curves = pair.map(row => curve(section, row.variant));
    box.replaceChildren(
      element("div", { class: "pictured" }, pair.map(row => element("div", {},
        element("h3", {}, row.label), pictures(section, row.variant)))),
      element("div", { class: "wide" }, numbers(pair)),
      element("p", { class: "soft note" }, "Bold: the better of the two, whether or not the gap is larger than its error."),
      element("div", { class: "two" }, pair.map((row, i) => element("div", {},
        element("h3", {}, row.label), formula(row.variant), curves[i][0]))));
    curves.forEach(([, drawCurve]) => drawCurve());
  }

  function numbers(pair) {
    const rows = [];
    let group = null;
    section.columns.forEach((column, at) => {
      const [a, b] = pair.map(row => row.cells[at]);
      if (!a && !b) return;
      if (column.group !== group) {
        group = column.group;
        rows.push(element("tr", { class: "block" }, element("th", { colspan: 3, scope: "rowgroup" }, group)));
      }
      const sign = { higher: 1, lower: -1, none: 0 }[column.better], gap = a && b ? sign * (a.value - b.value) : 0;
      rows.push(element("tr", {}, element("th", { scope: "row", title: column.about }, column.title,
        element("small", {}, column.unit)), element("td", {}, number(a, gap > 0)), element("td", {}, number(b, gap < 0))));
    });
    return element("table", { class: "pair" }, element("thead", {}, element("tr", {}, element("th", {}, "metric"),
      pair.map(row => element("th", { scope: "col" }, row.label)))), element("tbody", {}, rows));
  }

  const choice = key => select(key, labels, state[key], chosen => { state[key] = chosen; draw(); });
  return [element("section", { class: "side" }, heading("Side by side", choice("left"), choice("right")), box), draw];
}
