// The map: all points as pixels of one raster, which a single loop over typed arrays fills.
// What few there are of (images, marks, the lasso) is drawn on top of it.

import { rowsInside, trace } from "./lasso.js";
import { DrawList, PAD, Raster, blend, clamp, css, pack } from "./raster.js";
import { Thumbnails } from "./thumbnails.js";

const NEAR = 8; // CSS pixels from the pointer within which a point is meant
const STILL = 4; // CSS pixels that a pointer may move and still click
const FAINT = 0.75; // how far the colours of rows not selected go towards the paper

export class PointMap {
  #canvas;
  #heard;
  #paper;
  #xs = new Float32Array(0);
  #ys = new Float32Array(0);
  #codes = null;
  #palette = [];
  #shown = null;
  #selected = null;
  #marks = [];
  #theme = { paper: "#ffffff", ink: "#1c1e21", dim: "#9aa0a8" };
  #view = { scale: 1, left: 0, top: 0, width: 0, height: 0, ratio: 1 };
  #home = { x: 0, y: 0, wide: 1, high: 1 }; // the box that fit() shows
  #whole = true; // the view is as fit() left it, and follows the canvas's size
  #list = new DrawList();
  #raster = new Raster();
  #listStale = true;
  #coloursStale = true;
  #rasterStale = true;
  #frame = 0; // the frame asked for, or 0
  #size = 0; // of dots, in device pixels
  #thumbnails;
  #ringed = -1; // the row under the pointer, or the one last shown
  #tool = "pan";
  #pointers = new Map();
  #drag = null;
  #space = false;
  #hover = null;
  #hoverTimer = 0;
  #stats = { frames: 0, lastFrameMs: 0, lastLassoMs: 0, visible: 0 };

  /**
   * The canvas fills its parent, and follows its size. `heard` is what the map calls:
   * onLasso(rows, adding) once a lasso is closed (adding: with the lasso tool, and Shift was held); onPick(row) on a click
   * and onHover(row, clientX, clientY), where -1 is no row; thumbnails(rows), which promises a Map
   * of images, or null where there are none.
   */
  constructor(canvas, heard) {
    this.#canvas = canvas;
    this.#heard = heard;
    this.#thumbnails = new Thumbnails(heard.thumbnails ?? null, () => this.#change());
    Object.assign(canvas.style, { display: "block", width: "100%", height: "100%", touchAction: "none" });
    if (!canvas.hasAttribute("tabindex")) canvas.tabIndex = 0;
    this.#paper = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.#listen();
    this.#cursor();
    new ResizeObserver(() => this.#resize()).observe(canvas);
    window.addEventListener("resize", () => this.#resize()); // a change of devicePixelRatio too
    this.#resize();
  }

  // What is drawn.

  /** Place all rows (Float32Array each), and show them. A row whose place is not finite is not drawn. */
  setPoints(xs, ys) {
    this.#xs = xs;
    this.#ys = ys;
    this.#home = homeOf(xs, ys);
    this.#ringed = -1;
    this.#thumbnails.clear();
    this.#changeList();
    this.fit();
  }

  /** Colour rows by their codes (Uint16Array) into a palette of "#rrggbb"; 65535 is no name. */
  setColours(codes, palette) {
    this.#codes = codes;
    this.#palette = palette;
    this.#coloursStale = true;
    this.#change();
  }

  /** Hide the rows whose byte is 0; null shows all. */
  setShown(mask) {
    if (mask === this.#shown) return;
    this.#shown = mask;
    this.#changeList();
  }

  /** Select the rows whose byte is 1, and dim the others; null, or none selected, dims nothing. */
  setSelected(mask) {
    const selected = mask !== null && mask.includes(1) ? mask : null;
    if (selected === this.#selected) return;
    this.#selected = selected;
    this.#changeList();
  }

  /** Points of their own on top: {x, y, label} each. */
  setMarks(marks) {
    this.#marks = marks ?? [];
    this.#change();
  }

  /** What a drag does: "pan" (with Shift a lasso) or "lasso" (with Space or the middle button, pan). */
  setTool(tool) {
    this.#tool = tool;
    this.#cursor();
  }

  /** Colours "#rrggbb" of the paper, of lines and text on it, and of rows without a name. */
  setTheme(theme) {
    this.#theme = theme;
    this.#coloursStale = true;
    this.#change();
  }

  get stats() {
    return { ...this.#stats };
  }

  // Where one looks.

  /** Show all rows but the odd outlier. */
  fit() {
    const view = this.#view, home = this.#home;
    view.scale = Math.min(view.width / home.wide, view.height / home.high) || 1;
    this.#centre(home.x, home.y);
    this.#whole = true;
  }

  zoomBy(factor) {
    this.#zoomAbout(this.#view.width / 2, this.#view.height / 2, factor);
  }

  /** Move the points to the right and down. */
  panBy(dx, dy) {
    const view = this.#view;
    this.#centre(...this.#at(view.width / 2 - dx, view.height / 2 - dy));
  }

  /** Bring a row into view, and ring it until the pointer is on another. */
  show(row) {
    const view = this.#view, x = this.#xs[row], y = this.#ys[row], edge = 40;
    if (!(x - x === 0 && y - y === 0)) return;
    const across = x * view.scale + view.left, down = view.top - y * view.scale;
    const inside = across > edge && across < view.width - edge && down > edge && down < view.height - edge;
    if (!inside) this.#centre(x, y);
    this.#ringed = row;
    this.#change();
  }

  /** The shown rows in the viewport, in ascending order. */
  rowsInView() {
    const { width, height } = this.#view;
    return this.#inside([0, 0, width, 0, width, height, 0, height]);
  }

  /** The place of the data at a place of the canvas. */
  #at(across, down) {
    const view = this.#view;
    return [(across - view.left) / view.scale, (view.top - down) / view.scale];
  }

  /** Put a place of the data in the middle; the middle never leaves the points altogether. */
  #centre(x, y) {
    const view = this.#view, home = this.#home;
    view.left = view.width / 2 - clamp(x, home.left ?? x, home.right ?? x) * view.scale;
    view.top = view.height / 2 + clamp(y, home.bottom ?? y, home.top ?? y) * view.scale;
    this.#whole = false;
    this.#rasterStale = true;
    this.#change();
  }

  #zoomAbout(across, down, factor) {
    const view = this.#view, home = this.#home;
    const whole = Math.min(view.width / home.wide, view.height / home.high) || 1;
    const all = Math.min(view.width / (home.right - home.left), view.height / (home.top - home.bottom));
    const least = 0.5 * Math.min(whole, all || whole);
    const scale = clamp(view.scale * factor, least, whole * 20000);
    const [x, y] = this.#at(across, down);
    view.scale = scale;
    this.#centre(x + (view.width / 2 - across) / scale, y - (view.height / 2 - down) / scale);
  }

  #resize() {
    const canvas = this.#canvas, view = this.#view;
    const [x, y] = this.#at(view.width / 2, view.height / 2);
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = canvas;
    if (view.width === clientWidth && view.height === clientHeight && view.ratio === ratio) return;
    Object.assign(view, { width: clientWidth, height: clientHeight, ratio });
    if (view.width === 0 || view.height === 0) return;
    canvas.width = Math.round(view.width * ratio);
    canvas.height = Math.round(view.height * ratio);
    this.#raster.resize(canvas.width, canvas.height);
    if (this.#whole) this.fit();
    else this.#centre(x, y);
    this.#draw(); // at once: the browser has cleared the canvas
  }

  // Frames.

  #changeList() {
    this.#listStale = true;
    this.#change();
  }

  #change() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const start = performance.now(), view = this.#view;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (view.width === 0 || view.height === 0) return;
    if (this.#listStale) this.#fillList();
    if (this.#coloursStale) this.#colour();
    if (this.#rasterStale) this.#fillRaster();
    const paper = this.#paper, { width, height } = this.#canvas;
    paper.putImageData(this.#raster.image, -PAD, -PAD, PAD, PAD, width, height);
    this.#drawOver(paper);
    this.#stats.frames++;
    this.#stats.lastFrameMs = performance.now() - start;
  }

  #fillList() {
    this.#list.fill(this.#xs, this.#ys, this.#shown, this.#selected);
    this.#listStale = false;
    this.#coloursStale = true;
  }

  #colour() {
    const paper = pack(this.#theme.paper);
    const bright = Uint32Array.from([...this.#palette, this.#theme.dim], pack);
    this.#list.colour(this.#codes, bright, bright.map((colour) => blend(colour, paper, FAINT)));
    this.#coloursStale = false;
    this.#rasterStale = true;
  }

  #fillRaster() {
    const list = this.#list, view = this.#view, raster = this.#raster;
    if (this.#size === 0) this.#size = this.#dotSize(list.count);
    const visible = raster.fill(list, view, this.#size, pack(this.#theme.paper));
    this.#stats.visible = visible;
    const size = this.#dotSize(visible);
    this.#rasterStale = size !== this.#size; // the next frame has the other size
    this.#size = size;
    if (this.#rasterStale) this.#change();
    if (this.#thumbnails.suit(visible, view)) this.#thumbnails.place(list, raster.kept, visible, view);
    else this.#thumbnails.hide();
  }

  /** Dots cover a part of the canvas; a size stays until another is clearly better. */
  #dotSize(visible) {
    const { width, height, ratio } = this.#view;
    const most = Math.min(PAD, Math.round(5 * ratio));
    const best = clamp(ratio * Math.sqrt((0.4 * width * height) / Math.max(visible, 1)), 1, most);
    return this.#size > 0 && Math.abs(best - this.#size) < 0.7 ? this.#size : Math.round(best);
  }

  // What lies on top of the points, in CSS pixels.

  #drawOver(paper) {
    const view = this.#view;
    paper.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
    paper.font = "600 12px system-ui, sans-serif";
    paper.lineJoin = "round";
    this.#thumbnails.draw(paper, this.#theme.paper, css, view);
    if (this.#ringed >= 0) this.#drawRinged(paper, this.#ringed);
    for (const mark of this.#marks) this.#drawMark(paper, mark);
    if (this.#drag?.kind === "lasso" && this.#drag.moved) this.#drawLasso(paper, this.#drag.path);
    paper.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** Stroke the path twice, so that it is seen on any colour. */
  #outline(paper, colour, width = 1.5) {
    paper.strokeStyle = this.#theme.paper;
    paper.lineWidth = width + 2.5;
    paper.stroke();
    paper.strokeStyle = colour;
    paper.lineWidth = width;
    paper.stroke();
  }

  #drawText(paper, text, x, y, align) {
    paper.textAlign = align;
    paper.textBaseline = "middle";
    paper.strokeStyle = this.#theme.paper;
    paper.lineWidth = 4;
    paper.strokeText(text, x, y);
    paper.fillStyle = this.#theme.ink;
    paper.fillText(text, x, y);
  }

  #drawCircle(paper, x, y, radius) {
    const view = this.#view, across = x * view.scale + view.left, down = view.top - y * view.scale;
    paper.beginPath();
    paper.arc(across, down, radius, 0, 2 * Math.PI);
    this.#outline(paper, this.#theme.ink);
    return [across, down];
  }

  #drawRinged(paper, row) {
    const box = this.#thumbnails.boxOf(row);
    if (box === null) return void this.#drawCircle(paper, this.#xs[row], this.#ys[row], 9);
    paper.beginPath();
    paper.rect(box.left, box.top, box.size, box.size);
    this.#outline(paper, this.#theme.ink, 3);
  }

  #drawMark(paper, mark) {
    const [across, down] = this.#drawCircle(paper, mark.x, mark.y, 8);
    paper.beginPath();
    paper.arc(across, down, 2.5, 0, 2 * Math.PI);
    paper.fillStyle = this.#theme.ink;
    paper.fill();
    const left = across > this.#view.width - 140; // there the label would leave the canvas
    this.#drawText(paper, mark.label, across + (left ? -14 : 14), down, left ? "right" : "left");
  }

  #drawLasso(paper, path) {
    trace(paper, path);
    paper.globalAlpha = 0.08;
    paper.fillStyle = this.#theme.ink;
    paper.fill();
    paper.globalAlpha = 1;
    this.#outline(paper, this.#theme.ink);
  }

  // Hands.

  #listen() {
    const on = (name, hear, options) => this.#canvas.addEventListener(name, hear, options);
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#release(event));
    on("pointercancel", (event) => this.#cancel(event));
    on("pointerleave", () => this.#report(-1, 0, 0));
    on("mousedown", (event) => event.button === 1 && event.preventDefault()); // no autoscroll
    on("dblclick", (event) => this.#zoomAbout(event.offsetX, event.offsetY, 2));
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("keydown", (event) => this.#key(event));
    window.addEventListener("keyup", (event) => event.key === " " && this.#holdSpace(false));
    window.addEventListener("blur", () => this.#holdSpace(false));
  }

  #press(event) {
    const { offsetX: x, offsetY: y, button, shiftKey } = event;
    if (button > 1) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x, y });
    this.#canvas.focus({ preventScroll: true });
    const lasso = this.#tool === "lasso" ? button === 0 && !this.#space : button === 0 && shiftKey;
    const kind = this.#pointers.size > 1 ? "pinch" : lasso ? "lasso" : "pan";
    this.#drag = { kind, picks: button === 0, moved: kind === "pinch", path: [x, y] };
    this.#cursor();
  }

  #move(event) {
    const { offsetX: x, offsetY: y } = event, last = this.#pointers.get(event.pointerId), drag = this.#drag;
    if (!last || !drag) return void this.#hoverSoon(event);
    if (!drag.moved && Math.hypot(x - last.x, y - last.y) < STILL) return;
    if (this.#ringed >= 0) this.#report(-1, 0, 0);
    drag.moved = true;
    if (drag.kind === "pan") this.panBy(x - last.x, y - last.y);
    if (drag.kind === "pinch") this.#pinch(event.pointerId, last, x, y);
    if (drag.kind === "lasso") this.#extend(drag.path, event);
    last.x = x;
    last.y = y;
  }

  #extend(path, event) {
    const { offsetX, offsetY, clientX, clientY } = event, between = event.getCoalescedEvents?.() ?? [];
    for (const each of between.length > 0 ? between : [event]) {
      path.push(offsetX + each.clientX - clientX, offsetY + each.clientY - clientY);
    }
    this.#change();
  }

  #pinch(id, last, x, y) {
    for (const [other, still] of this.#pointers) {
      if (other === id) continue;
      const before = Math.hypot(last.x - still.x, last.y - still.y);
      const after = Math.hypot(x - still.x, y - still.y);
      this.panBy((x - last.x) / 2, (y - last.y) / 2);
      if (before > 0) this.#zoomAbout((x + still.x) / 2, (y + still.y) / 2, after / before);
      return;
    }
  }

  #release(event) {
    const drag = this.#drag;
    if (!this.#pointers.delete(event.pointerId) || !drag) return;
    // A finger that a pinch leaves behind does nothing more: it would jump.
    this.#drag = null;
    this.#cursor();
    if (!drag.moved && drag.picks) this.#heard.onPick(this.#nearest(event.offsetX, event.offsetY));
    if (drag.moved && drag.kind === "lasso") this.#close(drag.path, this.#tool === "lasso" && event.shiftKey);
  }

  #cancel(event) {
    this.#pointers.delete(event.pointerId);
    this.#drag = null;
    this.#cursor();
    this.#change();
  }

  #close(path, adding) {
    const start = performance.now(), rows = this.#inside(path);
    this.#stats.lastLassoMs = performance.now() - start;
    this.#change();
    this.#heard.onLasso(rows, adding);
  }

  #inside(polygon) {
    return rowsInside(polygon, this.#xs, this.#ys, this.#shown, this.#view);
  }

  #wheel(event) {
    event.preventDefault();
    if (this.#drag?.kind === "lasso") return; // its path is one of this view
    const lines = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.002; // a pinch on a touchpad comes as small steps
    this.#zoomAbout(event.offsetX, event.offsetY, Math.exp(-clamp(event.deltaY * lines, -400, 400) * speed));
    this.#hoverSoon(event);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 320 : 80;
    const acts = {
      ArrowLeft: () => this.panBy(far, 0),
      ArrowRight: () => this.panBy(-far, 0),
      ArrowUp: () => this.panBy(0, far),
      ArrowDown: () => this.panBy(0, -far),
      "+": () => this.zoomBy(1.5),
      "=": () => this.zoomBy(1.5),
      "-": () => this.zoomBy(1 / 1.5),
      Home: () => this.fit(),
    };
    if (this.#tool === "lasso") acts[" "] = () => this.#holdSpace(true);
    if (!Object.hasOwn(acts, event.key)) return;
    event.preventDefault();
    acts[event.key]();
  }

  #holdSpace(held) {
    this.#space = held;
    this.#cursor();
  }

  #cursor() {
    const panning = this.#tool === "pan" || this.#space;
    const shape = this.#drag?.kind === "pan" ? "grabbing" : panning ? "grab" : "crosshair";
    this.#canvas.style.cursor = this.#drag?.kind === "lasso" ? "crosshair" : shape;
  }

  // Finding the point that is meant.

  /** Look for what is under the pointer a little later, once for many moves. */
  #hoverSoon(event) {
    this.#hover = { x: event.offsetX, y: event.offsetY, clientX: event.clientX, clientY: event.clientY };
    this.#hoverTimer ||= setTimeout(() => {
      this.#hoverTimer = 0;
      if (!this.#hover || this.#drag) return;
      const { x, y, clientX, clientY } = this.#hover;
      this.#report(this.#nearest(x, y), clientX, clientY);
    }, 40);
  }

  #report(row, clientX, clientY) {
    if (row < 0) this.#hover = null;
    if (row < 0 && this.#ringed < 0) return;
    if (row !== this.#ringed) this.#change();
    this.#ringed = row;
    this.#heard.onHover(row, clientX, clientY);
  }

  #nearest(across, down) {
    const image = this.#thumbnails.at(across, down);
    if (image >= 0) return image;
    if (this.#listStale) this.#fillList();
    const { rows, xs, ys, count } = this.#list, [x, y] = this.#at(across, down);
    let best = (NEAR / this.#view.scale) ** 2, found = -1;
    for (let k = 0; k < count; k++) {
      const dx = xs[k] - x, dy = ys[k] - y, distance = dx * dx + dy * dy;
      if (distance > best) continue;
      best = distance;
      found = rows[k];
    }
    return found;
  }
}

/** The box that the view is fitted to, without the odd outlier, and the bounds of all points. */
function homeOf(xs, ys) {
  const across = spread(xs), down = spread(ys), margin = 1.08;
  const wide = across.high - across.low, high = down.high - down.low;
  return {
    x: (across.low + across.high) / 2,
    y: (down.low + down.high) / 2,
    wide: (wide || high || 1) * margin,
    high: (high || wide || 1) * margin,
    left: across.least,
    right: across.most,
    bottom: down.least,
    top: down.most,
  };
}

/** The 0.1 and 99.9 percentiles (of a sample where there are many) and both extremes. */
function spread(values) {
  let least = Infinity, most = -Infinity;
  for (const value of values) {
    if (value - value !== 0) continue;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (least > most) return { low: 0, high: 1, least: 0, most: 1 };
  const every = Math.max(1, Math.floor(values.length / 50000));
  const sample = values.filter((value, row) => row % every === 0 && value - value === 0).sort();
  if (sample.length === 0) return { low: least, high: most, least, most };
  const at = (share) => sample[Math.round(share * (sample.length - 1))];
  return { low: at(0.001), high: at(0.999), least, most };
}
