// The list of clusters: how large and how pure each is, what it is called, and choosing of them.

import { $, count, make, percent, swatch, trying } from "./dom.js";

export function showClusters(app) {
  const list = $("cluster-list");
  let active = 0; // the line that keys act on

  const draw = () => {
    const lines = app.state.clusters;
    active = Math.min(active, lines.length - 1);
    list.replaceChildren(...lines.map(line));
    list.setAttribute("aria-activedescendant", `cluster-${lines[active]?.cluster}`);
    $("merge").disabled = app.chosenClusters.size < 2;
    $("split").disabled = app.chosenClusters.size !== 1;
  };

  const line = (each, at) => {
    const facts = [`${count(each.rows)}\u00a0rows`];
    if (each.confidence !== null) facts.push(`${percent(each.confidence)}\u00a0sure`);
    if (each.purity !== null) facts.push(`${percent(each.purity)}\u00a0pure`);
    if (each.given) facts.push("named\u00a0here");
    const item = make(
      "li",
      {
        id: `cluster-${each.cluster}`,
        role: "option",
        ariaSelected: `${app.chosenClusters.has(each.cluster)}`,
        className: at === active ? "active" : "",
      },
      swatch(app.clusterColour(each.cluster)),
      make(
        "span",
        { className: "of-cluster" },
        make("b", {}, each.name || `cluster ${each.cluster}`),
        make("small", {}, each.name ? `cluster ${each.cluster} · ${facts.join(" · ")}` : facts.join(" · ")),
      ),
    );
    item.addEventListener("click", (event) => choose(at, event.ctrlKey || event.metaKey || event.shiftKey));
    return item;
  };

  const choose = (at, adding) => {
    active = at;
    const cluster = app.state.clusters[at].cluster, chosen = new Set(adding ? app.chosenClusters : []);
    if (adding && chosen.has(cluster)) chosen.delete(cluster);
    else chosen.add(cluster);
    app.chooseClusters(chosen);
    list.children[at]?.scrollIntoView({ block: "nearest" });
  };

  const step = (by, adding = false) => {
    const n = app.state.clusters.length;
    choose(app.chosenClusters.size ? (active + by + n) % n : active, adding);
  };

  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by, event.shiftKey);
  });
  $("merge").addEventListener(
    "click",
    trying(() => app.act({ do: "merge", clusters: [...app.chosenClusters] })),
  );
  $("split").addEventListener(
    "click",
    trying(() => app.act({ do: "split", cluster: [...app.chosenClusters][0] })),
  );
  app.on("coloured", draw);
  app.on("changed", draw);
  app.on("chosen", draw);
  draw();
  return { step };
}
