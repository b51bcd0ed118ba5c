// What the page knows: the run, what was said so far, all rows' columns, and what is chosen.

import { say } from "./dom.js";
import { NO_NAME, colourAt, colourOf } from "./palette.js";
import { get, getBytes, getJson, postFile, postJson } from "./net.js";

export class App extends EventTarget {
  about = null;
  state = null;
  known = null; // of all rows: class in the data, 65535 for none
  part = null;
  clusters = null; // of all rows, as are the next three; named anew by each action
  density = null;
  classes = null;
  sure = null;
  chosenClusters = new Set();
  chosen = null; // mask of chosen rows, null for none
  nChosen = 0;
  row = -1;
  colourBy = "class";
  names = []; // those of the data first, then others as they come: a place is a name's for good

  async open() {
    this.about = await getJson("/about");
    this.names = [...this.about.known];
    const n = this.about.rows;
    const [fixed, state] = await Promise.all([getBytes("/fixed"), getJson("/state")]);
    this.known = new Uint16Array(fixed, 0, n);
    this.part = new Uint8Array(fixed, 2 * n, n);
    await this.#take(state);
  }

  /** Do something, and show what follows. Actions go one after the other, in their order. */
  act(action) {
    return this.#inTurn(() => postJson("/act", action));
  }

  readLabels(file) {
    return this.#inTurn(() => postFile("/labels", file));
  }

  #turn = Promise.resolve();
  #inTurn(ask) {
    const next = this.#turn.then(async () => {
      const state = await ask();
      if (state === null) return;
      await this.#take(state);
      this.tell("changed");
    });
    this.#turn = next.catch(() => {});
    return next;
  }

  /** Look again, if another tab has acted. */
  refresh() {
    return this.#inTurn(async () => {
      const state = await getJson("/state");
      return state.n_done === this.state.n_done ? null : state;
    });
  }

  /** Wait until all that was done so far is done. */
  settled() {
    return this.#turn;
  }

  async #take(state) {
    const n = this.about.rows;
    let classes, clusters;
    for (;;) {
      const same = this.state?.grouping === state.grouping;
      [classes, clusters] = await Promise.all([
        columns("/classes"),
        same ? null : columns("/clusters"), // names leave clusters as they are
      ]);
      const all = [classes, clusters].filter((each) => each !== null);
      if (all.every((each) => each.state === state.n_done)) break;
      state = await getJson("/state"); // another tab has acted meanwhile
    }
    [classes, clusters] = [classes.bytes, clusters?.bytes];
    this.state = state;
    for (const name of state.classes) if (!this.names.includes(name)) this.names.push(name);
    this.classes = new Uint16Array(classes, 0, n);
    this.sure = new Uint8Array(classes, 2 * n, n);
    if (clusters) {
      this.clusters = new Uint16Array(clusters, 0, n);
      this.density = new Uint8Array(clusters, 2 * n, n);
    }
    const there = new Set(state.clusters.map((line) => line.cluster));
    const gone = [...this.chosenClusters].some((cluster) => !there.has(cluster));
    this.chosenClusters = new Set([...this.chosenClusters].filter((cluster) => there.has(cluster)));
    if (gone || this.chosenClusters.size) this.#chooseByCluster();
  }

  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  on(what, listener) {
    this.addEventListener(what, listener);
  }

  nameOf(row) {
    return this.classes[row] === NO_NAME ? "" : this.state.classes[this.classes[row]];
  }

  clusterTitle(cluster) {
    const line = this.state.clusters.find((each) => each.cluster === cluster);
    return line?.name ? `${line.name} (cluster ${cluster})` : `cluster ${cluster}`;
  }

  /** A cluster's colour, as on the map: that of its name, unless clusters are coloured. */
  clusterColour(cluster) {
    if (this.colourBy === "cluster") return colourAt(cluster);
    const line = this.state.clusters.find((each) => each.cluster === cluster);
    return line?.name ? colourOf(line.name) : "var(--dim)";
  }

  chooseClusters(clusters) {
    this.chosenClusters = new Set(clusters);
    this.#chooseByCluster();
    this.tell("chosen");
  }

  #chooseByCluster() {
    if (!this.chosenClusters.size) {
      [this.chosen, this.nChosen] = [null, 0];
      return;
    }
    this.chosen = Uint8Array.from(this.clusters, (cluster) => this.chosenClusters.has(cluster));
    this.nChosen = this.chosen.reduce((sum, value) => sum + value, 0);
  }

  /** Choose rows by number, in place of others or besides. */
  chooseRows(rows, adding = false) {
    this.chosenClusters = new Set();
    const mask = adding && this.chosen ? this.chosen.slice() : new Uint8Array(this.about.rows);
    for (const row of rows) mask[row] = 1;
    const n = mask.reduce((sum, value) => sum + value, 0);
    [this.chosen, this.nChosen] = n ? [mask, n] : [null, 0];
    this.tell("chosen");
  }

  chosenRows() {
    const rows = [];
    this.chosen?.forEach((value, row) => value && rows.push(row));
    return rows;
  }

  /** Give a name to what is chosen: to clusters as a whole, or else to the rows. */
  async name(name) {
    if (this.chosenClusters.size) {
      const clusters = [...this.chosenClusters];
      await this.act({ do: "name", clusters, name });
      say(name ? `Named ${clusters.length > 1 ? "clusters" : "cluster"} ${clusters.join(", ")}: ${name}` : "Name taken back");
    } else if (this.nChosen) {
      const rows = this.chosenRows();
      await this.act({ do: "label", rows, names: rows.map(() => name) });
      say(`${rows.length.toLocaleString("en")} rows labelled ${name || "as nothing"}`);
    } else {
      say("Choose a cluster, or draw a lasso around rows, first.", true);
    }
  }

  showRow(row) {
    this.row = row;
    this.tell("row");
  }
}

/** Whether digits stand for themselves: as long as no class is called anything else. */
export const digitsAreNames = (app) => app.names.every((name) => /^\d+$/.test(name));

/** The name that a digit stands for: itself, or where classes are words the one of that place. */
export function nameOfDigit(app, digit) {
  const name = digitsAreNames(app) ? digit : app.names[Number(digit)];
  if (name === undefined) throw new Error(`No class has the key ${digit} yet. Press N, and type its name.`);
  return name;
}

async function columns(path) {
  const response = await get(path);
  return { bytes: await response.arrayBuffer(), state: Number(response.headers.get("X-State")) };
}
