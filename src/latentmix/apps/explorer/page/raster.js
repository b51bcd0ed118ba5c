// The raster: points in the order they are drawn in, and the loop that turns them into pixels.

import { MOST } from "./thumbnails.js";

export const PAD = 16; // device pixels around the raster: a dot over its edge needs no clipping

export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

// Packed colours are the raster's own numbers: alpha, blue, green, red from the highest byte on.
export const pack = (hex) => {
  const rgb = parseInt(hex.slice(1), 16);
  return ((255 << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
};
export const css = (packed) => `rgb(${packed & 255},${(packed >> 8) & 255},${(packed >> 16) & 255})`;
export const blend = (from, to, share) => {
  const byte = (at) => Math.round(((from >> at) & 255) * (1 - share) + ((to >> at) & 255) * share);
  return ((255 << 24) | (byte(16) << 16) | (byte(8) << 8) | byte(0)) >>> 0;
};

/** A step through n rows that visits each once, in an order that looks random. */
function strideOf(n) {
  const divisor = (a, b) => (b === 0 ? a : divisor(b, a % b));
  let stride = Math.max(1, Math.round(n * 0.618034));
  while (divisor(n, stride) !== 1) stride++;
  return stride;
}

/** The rows to draw in their order, with copies of what drawing needs, side by side. */
export class DrawList {
  count = 0;
  selectedFrom = 0; // from here on rows are selected; 0 where there is no selection

  resize(n) {
    this.rows = new Uint32Array(n);
    this.xs = new Float32Array(n);
    this.ys = new Float32Array(n);
    this.colours = new Uint32Array(n);
  }

  /**
   * Selected rows come last, on top. The others come in a scattered order: in that of the rows,
   * which may be sorted by class, the last class would hide the rest wherever they overlap.
   */
  fill(xs, ys, shown, selected) {
    const n = xs.length, stride = strideOf(n);
    if (this.rows?.length !== n) this.resize(n);
    let front = 0, back = n;
    for (let step = 0, row = 0; step < n; step++, row = (row + stride) % n) {
      if (shown !== null && shown[row] === 0) continue;
      if (xs[row] - xs[row] !== 0 || ys[row] - ys[row] !== 0) continue; // not finite
      const dim = selected !== null && selected[row] === 0;
      const at = selected !== null && !dim ? --back : front++;
      this.rows[at] = row;
      this.xs[at] = xs[row];
      this.ys[at] = ys[row];
    }
    for (const part of [this.rows, this.xs, this.ys]) part.copyWithin(front, back);
    this.count = front + n - back;
    this.selectedFrom = selected === null ? 0 : front;
  }

  /** Colour the rows by their codes: dim ones before those that are selected, if any are. */
  colour(codes, bright, faint) {
    const { rows, colours, count, selectedFrom } = this, noName = bright.length - 1;
    for (let k = 0; k < count; k++) {
      const code = codes === null ? noName : codes[rows[k]];
      colours[k] = (k < selectedFrom ? faint : bright)[code < noName ? code : noName];
    }
  }
}

/** The raster of device pixels, and the loop that fills it. */
export class Raster {
  kept = new Uint32Array(MOST); // the last points drawn, as positions in the list
  #dots = []; // pixels of a dot as offsets, by its size

  resize(width, height) {
    this.wide = width + 2 * PAD;
    this.high = height + 2 * PAD;
    this.image = new ImageData(this.wide, this.high);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.#dots = [];
  }

  /** A square, from four pixels on without its corners. */
  #dot(size) {
    const offsets = [];
    const corner = (x, y) => (x === 0 || x === size - 1) && (y === 0 || y === size - 1);
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) if (size < 4 || !corner(x, y)) offsets.push(y * this.wide + x);
    }
    return Int32Array.from(offsets);
  }

  /** Draw the list's points as dots of this size; return how many are in view. */
  fill(list, view, size, paper) {
    const { kept, pixels, wide } = this, { xs, ys, colours, count } = list;
    const dot = (this.#dots[size] ??= this.#dot(size)), parts = dot.length;
    const scale = view.scale * view.ratio, right = wide - size, bottom = this.high - size;
    const left = view.left * view.ratio + PAD - size / 2 + 0.5;
    const top = view.top * view.ratio + PAD - size / 2 + 0.5;
    let visible = 0;
    pixels.fill(paper);
    for (let k = 0; k < count; k++) {
      const x = xs[k] * scale + left, y = top - ys[k] * scale;
      if (!(x >= 0 && x < right && y >= 0 && y < bottom)) continue;
      const pixel = (y | 0) * wide + (x | 0), colour = colours[k];
      if (parts === 1) pixels[pixel] = colour;
      else for (let part = 0; part < parts; part++) pixels[pixel + dot[part]] = colour;
      kept[visible++ & (MOST - 1)] = k;
    }
    return visible;
  }
}
