// The page: the map in the middle, clusters on the left, details on the right, and the keys.

import { App, digitsAreNames, nameOfDigit } from "./app.js";
import { showChosen } from "./chosen.js";
import { showClusters } from "./clusters.js";
import { $, count, make, percent, say, swatch, trying } from "./dom.js";
import { takeDrops } from "./drop.js";
import { showFilters } from "./filters.js";
import { showGenerator } from "./generator.js";
import { Looks } from "./images.js";
import { PointMap } from "./map.js";
import { get, getJson, offer, post } from "./net.js";
import { showNext } from "./next.js";
import { NO_NAME, RAMP, colourAt, colourOf } from "./palette.js";
import { showRows } from "./row.js";

const app = new App();

function openTab(name) {
  for (const tab of $("tabs").children) {
    const isOpen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", `${isOpen}`);
    tab.tabIndex = isOpen ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !isOpen;
  }
}

function listenToTabs() {
  const tabs = [...$("tabs").children];
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => openTab(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = tabs[(at + by + tabs.length) % tabs.length];
      openTab(next.id.slice(4));
      next.focus();
    });
  });
}

/** The figures in the head: how many rows, how many have a name, how many are right. */
function showFigures() {
  const { state, about } = app;
  const figures = [
    ["rows", count(about.rows)],
    ["with a name", percent(state.named)],
    ["sure (p ≥ 0.9)", percent(state.sure)],
  ];
  if (state.accuracy !== null) figures.push([`right, of ${count(state.judged)} labelled test rows`, percent(state.accuracy)]);
  $("figures").replaceChildren(
    ...figures.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
  $("undo").disabled = !state.can_undo;
  $("redo").disabled = !state.can_redo;
}

/** Colours of the rows on the map by what is asked for, and their legend. */
function colourMap(map) {
  const by = app.colourBy, { state, about } = app;
  const legend = $("legend");
  if (by === "sure" || by === "density") {
    map.setColours(Uint16Array.from(app[by]), RAMP);
    const ramp = make("li", { className: "ramp" }, "0 ", make("span", {}), " 1");
    legend.replaceChildren(ramp);
    return;
  }
  const names = { class: state.classes, known: about.known }[by];
  const codes = { class: app.classes, known: app.known, cluster: app.clusters }[by];
  if (names === undefined) {
    const most = Math.max(...state.clusters.map(({ cluster }) => cluster));
    map.setColours(codes, Array.from({ length: most + 1 }, (_, at) => colourAt(at)));
    legend.replaceChildren(
      ...state.clusters.slice(0, 40).map(({ cluster }) => make("li", {}, swatch(colourAt(cluster)), app.clusterTitle(cluster))),
    );
    return;
  }
  map.setColours(codes, names.map(colourOf));
  // Names that somebody can press a key for are there before they are given.
  const keyOf = (name) => (digitsAreNames(app) || by !== "class" ? -1 : app.names.indexOf(name));
  const listed = by === "class" && !digitsAreNames(app) ? app.names : names;
  const items = listed.slice(0, 40).map((name) => {
    const key = keyOf(name);
    return make("li", {}, swatch(colourOf(name)), name, key >= 0 && key < 10 ? make("kbd", {}, `${key}`) : null);
  });
  if (codes.includes(NO_NAME)) items.push(make("li", {}, swatch(getComputedStyle(document.body).getPropertyValue("--dim")), "without a name"));
  legend.replaceChildren(...items);
}

/** Where rows lie on the axes asked for; UMAP takes its time, and is asked for again. */
function placesOn(map) {
  let turn = 0;
  return trying(async () => {
    const axes = $("axes").value, own = ++turn;
    for (;;) {
      const response = await get(`/points?axes=${encodeURIComponent(axes)}`);
      if (own !== turn) return;
      $("waiting").hidden = response.status !== 202;
      document.body.classList.toggle("waiting", response.status === 202);
      if (response.status !== 202) {
        const bytes = await response.arrayBuffer(), n = app.about.rows;
        map.setMarks([]);
        map.setPoints(new Float32Array(bytes, 0, n), new Float32Array(bytes, 4 * n, n));
        return;
      }
      await new Promise((done) => setTimeout(done, 1000));
    }
  });
}

function fillAxes() {
  const { latent_dim: dimensions, umap } = app.about;
  const choices = [["pca", "PCA"]];
  if (umap) choices.push(["umap", "UMAP"]);
  for (let a = 0; a < Math.min(dimensions, 16); a++)
    for (let b = a + 1; b < Math.min(dimensions, 16); b++) choices.push([`${a},${b}`, `z${a}, z${b}`]);
  $("axes").replaceChildren(...choices.map(([value, name]) => make("option", { value }, name)));
}

function mapOf(looks) {
  const hint = $("hint");
  const thumbnails = async (rows) => {
    const found = await looks.ofRows(rows);
    return new Map([...found].map(([row, look]) => [row, looks.canvas(look)]));
  };
  let hovered = -1;
  const onHover = trying(async (row, x, y) => {
    hovered = row;
    hint.hidden = row < 0;
    if (row < 0) return;
    const box = $("stage").getBoundingClientRect();
    const right = x - box.left > box.width - 180;
    hint.style.left = `${x - box.left + (right ? -160 : 16)}px`;
    hint.style.top = `${Math.min(y - box.top + 16, box.height - 110)}px`;
    const name = app.nameOf(row) || `cluster ${app.clusters[row]}`;
    const said = make("span", {}, `${name}, ${percent(app.sure[row] / 255)}`);
    if (!looks.areImages) return hint.replaceChildren(said);
    const look = (await looks.ofRows([row])).get(row);
    if (hovered === row) hint.replaceChildren(looks.element(look, name), said);
  });
  return new PointMap($("map"), {
    onLasso: (rows, adding) => app.chooseRows(rows, adding),
    onPick: (row) => {
      app.chooseRows([]); // what a key names next is what is shown
      if (row >= 0) app.showRow(row);
    },
    onHover,
    thumbnails: looks.areImages ? thumbnails : null,
  });
}

function themed(map) {
  const dress = () => {
    const own = getComputedStyle(document.body), of = (name) => own.getPropertyValue(name).trim();
    map.setTheme({ paper: of("--paper"), ink: of("--ink"), dim: of("--dim") });
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dress);
  dress();
}

/** A menu closes once something else is clicked, or something in it was done. */
function listenToMenus() {
  addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]"))
      if (!menu.contains(event.target) || event.target.matches(".closes")) menu.open = false;
  });
}

function listenToFiles() {
  $("take-labels").addEventListener("click", trying(async () => {
    await app.settled();
    offer(await (await get("/labels.csv")).blob(), "labels.csv");
  }));
  const take = (format) =>
    trying(async () => {
      await app.settled();
      const rows = app.nChosen ? app.chosenRows() : null;
      offer(await (await post("/export", { rows, format })).blob(), `rows.${format}`);
    });
  $("take-rows").addEventListener("click", take("csv"));
  $("take-parquet").addEventListener("click", take("parquet"));
  $("read").addEventListener(
    "change",
    trying(async (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (!file) return;
      await app.readLabels(file);
      say(`Labels of ${file.name} were read.`);
    }),
  );
}

function listenToKeys(map, clusters, next) {
  const setTool = (tool) => {
    map.setTool(tool);
    $("lasso").setAttribute("aria-pressed", `${tool === "lasso"}`);
  };
  const chooseInView = () => app.chooseRows(map.rowsInView());
  const act = (what) => trying(() => app.act({ do: what }))();
  $("lasso").addEventListener("click", () => setTool($("lasso").getAttribute("aria-pressed") === "true" ? "pan" : "lasso"));
  $("in-view").addEventListener("click", chooseInView);
  $("fit").addEventListener("click", () => map.fit());
  $("undo").addEventListener("click", () => act("undo"));
  $("redo").addEventListener("click", () => act("redo"));
  $("forget").addEventListener("click", () => act("forget"));
  $("help").addEventListener("click", () => $("keys").showModal());
  const keys = {
    n: () => {
      if (!rowIsOpen()) openTab("selection");
      $(rowIsOpen() ? "panel-row" : "panel-selection").querySelector("input")?.focus();
    },
    j: () => clusters.step(1),
    k: () => clusters.step(-1),
    l: () => setTool("lasso"),
    p: () => setTool("pan"),
    a: chooseInView,
    q: next.open,
    "?": () => $("keys").showModal(),
    Escape: () => {
      for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
      app.chooseRows([]);
    },
  };
  /** A row that is looked at is what is named, and nothing that was chosen before. */
  const rowIsOpen = () => app.row >= 0 && !$("panel-row").hidden;
  const name = (digit) => {
    const called = nameOfDigit(app, digit);
    return rowIsOpen() ? app.act({ do: "label", rows: [app.row], names: [called] }) : app.name(called);
  };
  addEventListener("keydown", (event) => {
    const busy = event.target.matches("input:not([type=checkbox]):not([type=range]), select, textarea") || document.querySelector("dialog[open]");
    if (busy || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    let work = keys[key];
    if (event.ctrlKey || event.metaKey) {
      work = { z: () => act(event.shiftKey ? "redo" : "undo"), y: () => act("redo") }[key];
    } else if (/^\d$/.test(key)) {
      if (event.repeat) return; // a key held down is one answer
      work = trying(async () => name(key));
    }
    if (!work) return;
    event.preventDefault();
    work();
  });
}

async function begin() {
  await app.open();
  const looks = new Looks(app.about), { about } = app;
  document.title = `${about.title} · latentmix`;
  $("title").textContent = about.title;
  about.known.forEach(colourOf);
  fillAxes();
  const map = mapOf(looks), place = placesOn(map);
  themed(map);
  showFigures();
  colourMap(map);
  await place();
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("first-paint-of-points")));
  listenToTabs();
  const clusters = showClusters(app);
  showFilters(app, map);
  showChosen(app, looks);
  const rows = showRows(app, looks, openTab), next = showNext(app, looks);
  showGenerator(app, looks, openTab);
  takeDrops(app, map, rows);
  listenToMenus();
  listenToFiles();
  listenToKeys(map, clusters, next);
  $("axes").addEventListener("change", place);
  $("colour").addEventListener("change", () => {
    app.colourBy = $("colour").value;
    colourMap(map);
    app.tell("coloured");
  });
  app.on("changed", () => {
    showFigures();
    colourMap(map);
    map.setSelected(app.chosen);
  });
  app.on("chosen", () => {
    map.setSelected(app.chosen);
    const isAny = app.nChosen > 0 || app.chosenClusters.size > 0;
    $("chosen").textContent = isAny ? `${count(app.nChosen)} chosen` : "";
    if (isAny) openTab("selection");
  });
  app.on("row", () => map.show(app.row));
  addEventListener("focus", trying(() => app.refresh()));
  if (about.shown === "decoded") say("The data are no longer where the run read them: rows are shown as the model decodes them.", true);
  if (about.left_out.length) say(`In the journal ${about.left_out.join("; ")}: left out. All other names are there.`, true);
  globalThis.explorer = { app, map }; // for measuring
  document.body.dataset.ready = "";
}

trying(begin)();
