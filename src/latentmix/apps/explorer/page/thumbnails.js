// Images in place of dots where few points are in view. Which rows get one is decided anew in
// each frame, those of the frame before first, so that images stay while the view moves.

const FEW = 250; // points in view that always get images
const APART = 26; // CSS pixels between points, on average, from which they get images
const STILL = 120; // milliseconds without a frame before images are asked for
const KEPT = 2000; // images remembered
const OVERLAP = 0.15; // of its size that an image may cover of its neighbour
export const MOST = 4096; // points in view that may be considered

const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

export class Thumbnails {
  #fetch;
  #changed;
  #images = new Map(); // row -> image, or null where there is none; the least recent first
  #asked = new Set(); // rows on their way
  #timer = 0;
  #era = 0; // answers to questions of an earlier era are dropped
  #scale = 0; // the size is chosen once for each scale, or images would pulse while panning
  #size = 0;
  #count = 0;
  #rows = new Uint32Array(MOST);
  #xs = new Float32Array(MOST);
  #ys = new Float32Array(MOST);
  #colours = new Uint32Array(MOST);
  #dim = new Uint8Array(MOST);
  #before = new Set(); // rows that had a place in the frame before
  #cells = new Int32Array(0); // occupancy: 1 + the place that a cell holds

  /** `fetch(rows)` promises a Map of images; `changed()` is called when some have come. */
  constructor(fetch, changed) {
    this.#fetch = fetch;
    this.#changed = changed;
  }

  /** Forget all images: the rows are others. */
  clear() {
    this.#images.clear();
    this.#asked.clear();
    this.#era++;
    this.hide();
  }

  hide() {
    clearTimeout(this.#timer);
    this.#count = 0;
    this.#before.clear();
  }

  /** Whether so many points in a view of this size are few enough. */
  suit(visible, view) {
    const few = Math.max(FEW, (view.width * view.height) / APART ** 2);
    return this.#fetch !== null && visible > 0 && visible <= Math.min(few, MOST);
  }

  /** Choose places for the candidates: positions in `list`, the first `count` of `candidates`. */
  place(list, candidates, count, view) {
    this.#choose(view, count);
    const step = this.#size * (1 - OVERLAP);
    const wide = Math.ceil(view.width / step) + 2;
    const cells = wide * (Math.ceil(view.height / step) + 2);
    if (this.#cells.length < cells) this.#cells = new Int32Array(cells);
    this.#cells.fill(0);
    this.#count = 0;
    for (let turn = 0; turn < 4; turn++) {
      for (let at = 0; at < count; at++) {
        const k = candidates[at];
        const dim = k < list.selectedFrom;
        if (turn === 2 * dim + !this.#before.has(list.rows[k])) this.#try(list, k, dim, view, wide);
      }
    }
    this.#before.clear();
    for (let at = 0; at < this.#count; at++) this.#before.add(this.#rows[at]);
    this.#askSoon();
  }

  #choose(view, count) {
    if (view.scale === this.#scale && this.#size > 0) return;
    const apart = Math.sqrt((view.width * view.height) / count);
    this.#scale = view.scale;
    this.#size = clamp(4 * Math.round(apart / 5), 28, 44);
  }

  /** Give a point a place, unless one of the neighbouring cells holds an image too near. */
  #try(list, k, dim, view, wide) {
    const x = list.xs[k] * view.scale + view.left, y = view.top - list.ys[k] * view.scale;
    if (x < 0 || y < 0 || x >= view.width || y >= view.height) return;
    const step = this.#size * (1 - OVERLAP);
    const cell = (Math.floor(y / step) + 1) * wide + Math.floor(x / step) + 1;
    for (let down = -wide; down <= wide; down += wide) {
      for (let across = -1; across <= 1; across++) {
        const other = this.#cells[cell + down + across] - 1;
        if (other < 0) continue;
        if (Math.abs(this.#xs[other] - x) < step && Math.abs(this.#ys[other] - y) < step) return;
      }
    }
    const at = this.#count++;
    this.#cells[cell] = at + 1;
    this.#rows[at] = list.rows[k];
    this.#xs[at] = x;
    this.#ys[at] = y;
    this.#colours[at] = list.colours[k];
    this.#dim[at] = dim;
  }

  #askSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), STILL);
  }

  async #ask() {
    const wanted = [], era = this.#era;
    for (let at = 0; at < this.#count; at++) {
      const row = this.#rows[at];
      if (this.#images.has(row)) this.#keep(row, this.#images.get(row));
      else if (!this.#asked.has(row)) wanted.push(row);
    }
    if (wanted.length === 0) return;
    for (const row of wanted) this.#asked.add(row);
    let images = null;
    try {
      images = await this.#fetch(wanted);
    } catch {
      // Dots stay; the rows are asked for again when the view has next moved.
    }
    if (era !== this.#era) return;
    for (const row of wanted) {
      this.#asked.delete(row);
      if (images) this.#keep(row, images.get(row) ?? null);
    }
    if (images) this.#changed();
  }

  #keep(row, image) {
    this.#images.delete(row); // and back at the end, as the most recent
    this.#images.set(row, image);
    if (this.#images.size > KEPT) this.#images.delete(this.#images.keys().next().value);
  }

  /** Draw the images that are here; `css` turns a packed colour into one that a canvas takes. */
  draw(paper, background, css, view) {
    const size = this.#size, frame = 2;
    for (let at = this.#count - 1; at >= 0; at--) { // those placed first lie on top
      const image = this.#images.get(this.#rows[at]);
      if (!image) continue;
      const left = Math.round(this.#xs[at] - size / 2), top = Math.round(this.#ys[at] - size / 2);
      paper.fillStyle = css(this.#colours[at]);
      paper.fillRect(left, top, size, size);
      paper.fillStyle = background;
      paper.fillRect(left + frame, top + frame, size - 2 * frame, size - 2 * frame);
      paper.globalAlpha = this.#dim[at] ? 0.3 : 1;
      fitted(paper, image, left + frame, top + frame, size - 2 * frame, view.ratio);
      paper.globalAlpha = 1;
    }
  }

  /** The square that a row's image takes, or null where a dot is drawn. */
  boxOf(row) {
    if (!this.#before.has(row) || !this.#images.get(row)) return null;
    const at = this.#rows.subarray(0, this.#count).indexOf(row), size = this.#size;
    return { left: this.#xs[at] - size / 2, top: this.#ys[at] - size / 2, size };
  }

  /** The row whose image lies under a place of the canvas, or -1. */
  at(x, y) {
    const half = this.#size / 2;
    for (let at = 0; at < this.#count; at++) {
      if (Math.abs(this.#xs[at] - x) > half || Math.abs(this.#ys[at] - y) > half) continue;
      if (this.#images.get(this.#rows[at])) return this.#rows[at];
    }
    return -1;
  }
}

/** Draw an image as large as a square allows, its proportions kept. */
function fitted(paper, image, left, top, size, ratio) {
  const scale = size / Math.max(image.width, image.height);
  const width = image.width * scale, height = image.height * scale;
  paper.imageSmoothingEnabled = scale * ratio < 1; // pixels stay pixels unless some would be lost
  paper.drawImage(image, left + (size - width) / 2, top + (size - height) / 2, width, height);
}
