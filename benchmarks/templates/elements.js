"use strict";
// Elements of the page. Text is only ever set as text, so that nothing in a record is read as markup.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made[name] = value;
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter(child => child != null));
  return made;
}

// A row of buttons of which one is chosen. Names are labels, or [value, label].
function tabs(label, names, chosen, choose) {
  const buttons = names.map(name => {
    const [value, text] = Array.isArray(name) ? name : [name, name];
    return element("button", { type: "button", role: "tab", "aria-selected": String(value === chosen),
      onclick: event => {
        for (const other of buttons) other.setAttribute("aria-selected", String(other === event.target));
        choose(value);
      } }, text);
  });
  return element("div", { class: "tabs", role: "tablist", "aria-label": label }, buttons);
}

function select(label, names, chosen, choose) {
  const options = names.map(name => element("option", { value: name, selected: name === chosen }, name));
  return element("label", { class: "select" }, label + " ",
    element("select", { onchange: event => choose(event.target.value) }, options));
}

function heading(title, ...beside) {
  return element("div", { class: "heading" }, element("h2", {}, title), ...beside);
}

// "-97.1 ± 0.4" with its error set back; bold where it is the best of its column.
function number(cell, best) {
  if (!cell) return element("span", { class: "error" }, "–");
  const [value, error] = cell.text.split(" ± ");
  return element(best ? "b" : "span", {}, value, error ? element("span", { class: "error" }, " ± " + error) : null);
}
