// The list of clusters: how large and how pure each is, what it is called, and choosing of them.

import { $, count, make, percent, swatch, trying } from "./dom.js";

export function showClusters(app) {
  const list = $("cluster-list");
  let active = null; // the cluster that keys act on

  // Those that nobody is in are told by their number alone.
  const shown = () => app.state.clusters.filter((each) => each.rows > 0 || each.given);

  const draw = () => {
    const lines = shown(), n_empty = app.state.clusters.length - lines.length;
    if (!lines.some((each) => each.cluster === active)) active = lines[0]?.cluster;
    list.replaceChildren(...lines.map(line));
    list.setAttribute("aria-activedescendant", `cluster-${active}`);
    $("empty").textContent = n_empty ? `and ${n_empty} that no row is in` : "";
    $("merge").disabled = app.chosenClusters.size < 2;
    $("split").disabled = app.chosenClusters.size !== 1;
  };

  const line = (each) => {
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
        className: each.cluster === active ? "active" : "",
      },
      swatch(app.clusterColour(each.cluster)),
      make(
        "span",
        { className: "of-cluster" },
        make("b", {}, each.name || `cluster ${each.cluster}`),
        make("small", {}, each.name ? `cluster ${each.cluster} · ${facts.join(" · ")}` : facts.join(" · ")),
      ),
    );
    item.addEventListener("click", (event) => choose(each.cluster, event.ctrlKey || event.metaKey || event.shiftKey));
    return item;
  };

  const choose = (cluster, adding) => {
    active = cluster;
    const chosen = new Set(adding ? app.chosenClusters : []);
    if (adding && chosen.has(cluster)) chosen.delete(cluster);
    else chosen.add(cluster);
    app.chooseClusters(chosen);
    $(`cluster-${cluster}`)?.scrollIntoView({ block: "nearest" });
  };

  const step = (by, adding = false) => {
    const clusters = shown().map((each) => each.cluster), n = clusters.length;
    const at = clusters.indexOf(active);
    choose(clusters[app.chosenClusters.size ? (at + by + n) % n : at], adding);
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
