// Rows as they look: images as small canvases, a table's rows as lists of values.

import { make } from "./dom.js";
import { post, postJson } from "./net.js";

export class Looks {
  #shape;
  #columns;
  #kept = new Map(); // of single rows, the latest last

  constructor(about) {
    this.#shape = about.image_shape;
    this.#columns = about.columns;
  }

  get areImages() {
    return this.#shape !== null;
  }

  /** Ask a path for the looks of what it is given; return an array of pixels or of values. */
  async ask(path, body) {
    if (!this.areImages) return (await postJson(path, body)).rows;
    const bytes = new Uint8Array(await (await post(path, body)).arrayBuffer());
    const size = this.#shape.reduce((a, b) => a * b);
    return Array.from({ length: bytes.length / size }, (_, at) =>
      bytes.subarray(at * size, (at + 1) * size),
    );
  }

  /** Return what each of some rows looks like, by row. */
  async ofRows(rows) {
    const missing = rows.filter((row) => !this.#kept.has(row));
    for (let at = 0; at < missing.length; at += 1000) {
      const some = missing.slice(at, at + 1000);
      const looks = await this.ask("/looks", { rows: some });
      some.forEach((row, place) => this.#kept.set(row, looks[place]));
    }
    const found = new Map(rows.map((row) => [row, this.#kept.get(row)]));
    for (const row of this.#kept.keys()) {
      if (this.#kept.size <= 4000) break;
      this.#kept.delete(row);
    }
    return found;
  }

  /** Return a canvas of one image's pixels. */
  canvas(pixels) {
    const [height, width, channels = 1] = this.#shape;
    const canvas = make("canvas", { width, height });
    const paper = canvas.getContext("2d"), image = paper.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let c = 0; c < 3; c++)
        image.data[4 * pixel + c] = pixels[pixel * channels + (channels === 1 ? 0 : c)];
      image.data[4 * pixel + 3] = 255;
    }
    paper.putImageData(image, 0, 0);
    return canvas;
  }

  /** Return a sheet of rows: {look, said, act} each, said of it and what a click does, if anything. */
  sheet(items) {
    if (this.areImages) {
      return make(
        "div",
        { className: "sheet" },
        ...items.map(({ look, said, act }) => {
          const element = this.element(look, said);
          if (!act) return element;
          const button = make("button", { type: "button", title: said }, element);
          button.addEventListener("click", act);
          return button;
        }),
      );
    }
    return this.#table(
      items.map(({ look, said, act }) => {
        const line = this.line(look, "");
        if (!act) return line;
        const button = make("button", { type: "button" }, said);
        button.addEventListener("click", act);
        line.firstChild.replaceChildren(button);
        return line;
      }),
    );
  }

  /** Return a sheet to go through one by one: an element for each look, with a note of its own. */
  tiles(found) {
    const tiles = found.map(({ look, said }) => {
      if (!this.areImages) {
        const element = this.line(look, "");
        return { element, note: element.firstChild };
      }
      const note = make("span");
      return { element: make("div", { className: "tile" }, this.element(look, said), note), note };
    });
    const elements = tiles.map(({ element }) => element);
    const sheet = this.areImages ? make("div", { className: "sheet large" }, ...elements) : this.#table(elements);
    return { sheet, tiles };
  }

  /** A table's row as a line of cells, after a note. */
  line(look, note) {
    return make("tr", {}, make("th", {}, note), ...look.map((value) => make("td", {}, `${value}`)));
  }

  #table(lines) {
    const head = make("tr", {}, make("th"), ...this.#columns.map((name) => make("th", {}, name)));
    return make("div", { className: "wide" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)));
  }

  /** Return a table's row beside what is left of it. */
  pair(input, output) {
    const head = ["", "input", "reconstruction"].map((title) => make("th", {}, title));
    const lines = input.map((value, at) =>
      make("tr", {}, make("th", {}, this.#columns[at]), make("td", {}, `${value}`), make("td", {}, `${output[at]}`)),
    );
    return make("div", { className: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines)));
  }

  /** Return an element that shows one row. */
  element(look, said = "") {
    if (this.areImages) {
      const canvas = this.canvas(look);
      canvas.className = "image";
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", said || "image");
      return canvas;
    }
    const cells = look.map((value, at) =>
      make("tr", {}, make("th", {}, this.#columns[at]), make("td", {}, `${value}`)),
    );
    return make("table", { className: "values", ariaLabel: said }, make("tbody", {}, ...cells));
  }
}
