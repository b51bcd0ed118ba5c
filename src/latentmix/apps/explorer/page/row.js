// One row, or an image that was dropped: what it looks like, what is left of it, what it may be.

import { $, bar, make, percent, trying } from "./dom.js";
import { nameBox } from "./chosen.js";
import { colourOf } from "./palette.js";
import { getJson } from "./net.js";

export function showRows(app, looks, openTab) {
  const panel = $("panel-row"), head = make("div"), body = make("div");
  let asked = 0, headed = -1; // the row that the head is of: what is typed there stays
  let again = null; // what shows a dropped image anew
  panel.replaceChildren(head, body);
  head.replaceChildren(make("p", { className: "soft" }, "Click a point or an image to see what is known of it."));

  const pair = (input, output) => {
    if (!looks.areImages) return looks.pair(input, output);
    return make(
      "div",
      { className: "pair" },
      make("figure", {}, looks.element(input, "the row"), make("figcaption", {}, "input")),
      make("figure", {}, looks.element(output, "its reconstruction"), make("figcaption", {}, "reconstruction")),
    );
  };
  const bars = (found) => [
    ...(found.classes.length
      ? [make("h3", {}, "Class"), ...found.classes.slice(0, 5).map(([name, p]) => bar(name, p, colourOf(name)))]
      : []),
    make("h3", {}, "Cluster"),
    ...found.clusters.slice(0, 5).map(([cluster, p]) => bar(app.clusterTitle(cluster), p, app.clusterColour(cluster))),
  ];

  const draw = trying(async () => {
    const row = app.row, turn = ++asked;
    if (row < 0) return;
    const [found, output, own] = await Promise.all([
      getJson(`/row/${row}`),
      looks.ask("/reconstructions", { rows: [row] }),
      looks.ofRows([row]),
    ]);
    const near = await looks.ofRows(found.neighbours);
    if (turn !== asked) return;
    const facts = [`${found.part} row`, `denser than ${percent(found.density)} of all`];
    if (found.known !== null) facts.push(`in the data: ${found.known}`);
    if (found.given !== null) facts.push(`labelled here: ${found.given}`);
    const use = make("button", { type: "button" }, "Take it to the generator");
    use.addEventListener("click", () => app.dispatchEvent(new CustomEvent("latents", { detail: found.latents })));
    if (headed !== row) {
      headed = row;
      head.replaceChildren(
        make("h2", {}, found.id === null ? `Row ${row}` : found.id),
        nameBox(app, "This row is", (name) => app.act({ do: "label", rows: [row], names: [name] })),
      );
    }
    body.replaceChildren(
      make("p", { className: "soft" }, facts.join(" · ")),
      pair(own.get(row), output[0]),
      ...bars(found),
      make("h3", {}, "Nearest in latent space"),
      looks.sheet(
        found.neighbours.map((other) => ({ look: near.get(other), said: `row ${other}`, act: () => app.showRow(other) })),
      ),
      use,
    );
  });
  app.on("row", () => {
    again = null;
    openTab("row");
    draw();
  });
  app.on("changed", () => (again ? again() : draw()));

  /** Show what the model says of a dropped image. */
  const showDropped = (found, name, invert, repeat) => {
    asked++;
    [app.row, headed, again] = [-1, -1, repeat];
    const facts = [];
    if (found.p_value !== null) facts.push(`${percent(found.p_value)} of the held-out rows are at least as strange`);
    const button = make("button", { type: "button" }, "Black for white");
    button.addEventListener("click", invert);
    head.replaceChildren(make("h2", {}, name));
    body.replaceChildren(
      make("p", { className: "soft" }, facts.join(" · ")),
      pair(Uint8Array.from(found.image), Uint8Array.from(found.reconstruction)),
      button,
      ...bars(found),
    );
    openTab("row");
  };
  return { showDropped };
}
