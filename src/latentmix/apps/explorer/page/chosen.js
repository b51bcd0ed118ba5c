// What is chosen: its name, what its rows look like, and what the model draws of a cluster.

import { $, count, make, trying } from "./dom.js";
import { getJson } from "./net.js";

const SHOWN = 24;

/** A box to type a name in, with the names there are to choose from. */
export function nameBox(app, text, give) {
  const list = make("datalist", { id: `names-${text.replace(/\W/g, "")}` });
  const fill = () => list.replaceChildren(...app.names.map((value) => make("option", { value })));
  fill();
  const input = make("input", { type: "text", maxLength: 80, autocomplete: "off", placeholder: "a name, then Enter" });
  input.setAttribute("list", list.id);
  const form = make("form", { className: "line naming" }, make("label", {}, `${text} `, input), list, make("button", {}, "Name"));
  input.addEventListener("focus", fill);
  form.addEventListener(
    "submit",
    trying(async (event) => {
      event.preventDefault();
      const name = input.value.trim();
      input.value = "";
      input.blur(); // keys are keys again
      await give(name);
    }),
  );
  return form;
}

export function showChosen(app, looks) {
  const panel = $("panel-selection"), head = make("div"), body = make("div");
  let asked = 0, headed = null; // what the head is of: while that stays, so does what is typed in it
  panel.replaceChildren(head, body);

  const sheet = (title, rows, all) => {
    const items = rows.map((row) => ({ look: all.get(row), said: `row ${row}`, act: () => app.showRow(row) }));
    return make("section", {}, make("h3", {}, title), looks.sheet(items));
  };

  const draw = trying(async () => {
    const turn = ++asked, clusters = [...app.chosenClusters];
    if (!app.nChosen && !clusters.length) {
      headed = null;
      head.replaceChildren(
        make("p", { className: "soft" }, "Nothing is chosen. Choose a cluster in the list, click a point, or draw a lasso around rows (hold Shift, or press L)."),
      );
      body.replaceChildren();
      return;
    }
    const title = clusters.length ? clusters.map((cluster) => app.clusterTitle(cluster)).join(", ") : `${count(app.nChosen)} rows`;
    const of = clusters.length ? `clusters ${clusters}` : "rows";
    if (of !== headed) {
      headed = of;
      const text = clusters.length ? "All of its rows are" : "These rows are";
      head.replaceChildren(make("h2"), nameBox(app, text, (name) => app.name(name)));
      body.replaceChildren();
    }
    head.firstChild.textContent = title;
    const parts = clusters.length === 1 ? await ofCluster(clusters[0]) : await ofRows();
    if (turn === asked) body.replaceChildren(...parts);
  });

  const ofRows = async () => {
    const rows = app.chosenRows(), by = Math.max(1, rows.length / SHOWN);
    const some = Array.from({ length: Math.min(SHOWN, rows.length) }, (_, at) => rows[Math.floor(at * by)]);
    return [sheet("Some of them", some, await looks.ofRows(some))];
  };

  const ofCluster = async (cluster) => {
    const [kinds, drawn] = await Promise.all([
      getJson(`/gallery/${cluster}`),
      looks.ask("/draws", { n: 12, cluster }),
    ]);
    const all = await looks.ofRows([...kinds.typical, ...kinds.borderline, ...kinds.random]);
    return [
      sheet("Most typical", kinds.typical, all),
      sheet("Least certain", kinds.borderline, all),
      sheet("At random", kinds.random, all),
      make(
        "section",
        {},
        make("h3", {}, "Drawn by the model"),
        looks.sheet(drawn.map((look) => ({ look, said: "a draw" }))),
      ),
    ];
  };

  app.on("chosen", draw);
  app.on("changed", draw);
  draw();
}
