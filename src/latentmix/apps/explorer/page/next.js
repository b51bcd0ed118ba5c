// What to label next: a sheet of the rows that would teach most, named key by key; and the curve
// of accuracy on labelled test rows against names given.

import { $, make, percent, trying } from "./dom.js";
import { nameOfDigit } from "./app.js";
import { postJson } from "./net.js";

const SVG = "http://www.w3.org/2000/svg";

export function showNext(app, looks) {
  const panel = $("panel-next"), dialog = $("sheet");
  const number = make("input", { type: "number", min: 1, max: 200, value: 20 });
  const button = make("button", { type: "button" }, "Label these rows (Q)");
  const curve = make("figure", { className: "curve" });
  panel.replaceChildren(
    make("h2", {}, "What to label next"),
    make("p", { className: "soft" }, "Rows whose labels would teach the model most: typical ones of clusters without a name first, then those in doubt, spread over clusters."),
    make("p", { className: "line" }, make("label", {}, "Rows ", number), button),
    curve,
  );

  const drawCurve = () => {
    const points = app.state.curve;
    curve.replaceChildren();
    if (app.state.accuracy === null || !points.length) {
      curve.append(make("figcaption", { className: "soft" }, "The data have no labelled test rows, so no accuracy is known."));
      return;
    }
    const most = Math.max(10, ...points.map(([n]) => n)), wide = 300, high = 150;
    const x = (n) => 40 + (n / most) * (wide - 56), y = (share) => high - 24 - share * (high - 40);
    const svg = document.createElementNS(SVG, "svg");
    const add = (tag, attributes, text) => {
      const element = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (text !== undefined) element.textContent = text;
      svg.append(element);
    };
    svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Accuracy ${percent(app.state.accuracy)} with ${app.state.n_said} names given`);
    for (const share of [0, 0.5, 1]) {
      add("line", { class: "grid", x1: 40, x2: wide - 16, y1: y(share), y2: y(share) });
      add("text", { x: 34, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`);
    }
    add("text", { x: 40, y: high - 6 }, "0");
    add("text", { x: wide - 16, y: high - 6, "text-anchor": "end" }, `${most} names given`);
    add("polyline", { class: "path", points: points.map(([n, share]) => `${x(n)},${y(share)}`).join(" ") });
    const [n, share] = points.at(-1);
    add("circle", { class: "now", cx: x(n), cy: y(share), r: 4 });
    curve.append(svg, make("figcaption", { className: "soft" }, `Right on ${percent(share)} of the labelled test rows, whose labels name nothing; ${n} names given here.`));
  };

  const open = trying(async () => {
    const { rows } = await postJson("/query", { n: Number(number.value) });
    const all = await looks.ofRows(rows);
    let at = 0;
    const given = new Map();
    const { sheet, tiles } = looks.tiles(rows.map((row) => ({ look: all.get(row), said: `row ${row}` })));
    Object.assign(sheet, { tabIndex: 0, role: "listbox", ariaLabel: "Rows to label" });
    tiles.forEach(({ element, note }, place) => {
      element.setAttribute("role", "option");
      note.className = "guess";
      element.addEventListener("click", () => go(place));
    });
    const input = make("input", { type: "text", maxLength: 80, autocomplete: "off", ariaLabel: "Name of the row" });
    const close = make("button", { type: "button" }, "Done");
    const form = make("form", { className: "line" }, make("label", {}, "Or type a name ", input), make("button", {}, "Name"));
    dialog.replaceChildren(
      make("h2", { id: "sheet-title" }, `Label these ${rows.length}`),
      make("p", { className: "soft" }, "Press 0 to 9 for the framed row; arrows move, Backspace takes a label back, Enter leaves. Below each stands the model's guess, or your label in bold."),
      sheet,
      form,
      close,
    );

    const go = (place) => {
      at = Math.max(0, Math.min(rows.length - 1, place));
      tiles.forEach(({ element }, each) => element.setAttribute("aria-selected", `${each === at}`));
      tiles[at].element.scrollIntoView({ block: "nearest" });
    };
    const tell = () =>
      rows.forEach((row, place) => {
        const own = given.get(row);
        tiles[place].note.textContent = own ?? (app.nameOf(row) ? `${app.nameOf(row)}?` : `cluster ${app.clusters[row]}`);
        tiles[place].note.classList.toggle("given", own !== undefined);
      });
    const label = trying(async (name) => {
      const row = rows[at];
      if (name) given.set(row, name);
      else given.delete(row);
      tell();
      if (name) go(at + 1);
      await app.act({ do: "label", rows: [row], names: [name] });
      tell();
    });
    const labelByKey = trying(async (digit) => label(nameOfDigit(app, digit)));
    sheet.addEventListener("keydown", (event) => {
      const across = looks.areImages ? Math.max(1, Math.floor(sheet.clientWidth / (tiles[0].element.offsetWidth + 8))) : 1;
      const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
      if (by) go(at + by);
      else if (event.key === "Backspace" || event.key === "Delete") label("");
      else if (event.key === "Enter") dialog.close();
      else if (/^\d$/.test(event.key)) event.repeat || labelByKey(event.key);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value.trim()) label(input.value.trim());
      input.value = "";
    });
    close.addEventListener("click", () => dialog.close());
    go(0);
    tell();
    dialog.showModal();
    sheet.focus();
  });

  button.addEventListener("click", open);
  app.on("changed", drawCurve);
  drawCurve();
  return { open };
}
