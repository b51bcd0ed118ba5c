// Which rows lie inside a polygon: the polygon is filled once on a hidden canvas, and each row
// looks up one pixel of it. The time doesn't depend on how many corners the polygon has.

let mask = null; // one hidden canvas for all lassos

/** Add the polygon [x0, y0, x1, y1, ...] to a canvas's path, and close it. */
export function trace(paper, polygon) {
  paper.beginPath();
  for (let at = 0; at < polygon.length; at += 2) paper.lineTo(polygon[at], polygon[at + 1]);
  paper.closePath();
}

/** The part of the view that the polygon covers, in whole pixels. */
function bounds(polygon, view) {
  let left = Infinity, top = Infinity, right = -Infinity, bottom = -Infinity;
  for (let at = 0; at < polygon.length; at += 2) {
    left = Math.min(left, polygon[at]);
    right = Math.max(right, polygon[at]);
    top = Math.min(top, polygon[at + 1]);
    bottom = Math.max(bottom, polygon[at + 1]);
  }
  left = Math.max(0, Math.floor(left));
  top = Math.max(0, Math.floor(top));
  const width = Math.min(view.width, Math.ceil(right)) - left;
  const height = Math.min(view.height, Math.ceil(bottom)) - top;
  return { left, top, width: Math.ceil(width), height: Math.ceil(height) };
}

/** The filled polygon as one number a pixel, negative inside (alpha is the highest byte). */
function fill(polygon, box) {
  mask ??= document.createElement("canvas");
  mask.width = box.width;
  mask.height = box.height;
  const paper = mask.getContext("2d", { willReadFrequently: true });
  paper.translate(-box.left, -box.top);
  trace(paper, polygon);
  paper.fill(); // a loop that crosses itself holds all that it goes round
  return new Int32Array(paper.getImageData(0, 0, box.width, box.height).data.buffer);
}

/**
 * The shown rows inside a polygon of CSS pixels, in ascending order. Rows outside the view are
 * left out: nobody has seen them. `view` is {scale, left, top, width, height}.
 */
export function rowsInside(polygon, xs, ys, shown, view) {
  const box = bounds(polygon, view);
  if (!(box.width > 0 && box.height > 0)) return new Uint32Array(0);
  const inside = fill(polygon, box);
  const found = new Uint32Array(xs.length);
  const { width, height } = box, { scale } = view;
  const left = view.left - box.left, top = view.top - box.top;
  let count = 0;
  for (let row = 0; row < xs.length; row++) {
    const x = xs[row] * scale + left, y = top - ys[row] * scale;
    if (!(x >= 0 && x < width && y >= 0 && y < height)) continue; // so written, it skips NaN too
    if (inside[(y | 0) * width + (x | 0)] >= 0) continue;
    if (shown === null || shown[row] !== 0) found[count++] = row;
  }
  return found.slice(0, count);
}
