"use strict";
// The live map: a point dragged over the latents of test rows is decoded as it moves.
const live = JSON.parse(document.getElementById("live").textContent);
if (live) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const layers = live.layers.map((layer) => ({
    ...layer,
    weights: new Int8Array(bytes(layer.weights).buffer),
    scales: floats(layer.scales),
    biases: floats(layer.biases),
  }));
  const { rows, dimensions } = live.latents;
  const steps = bytes(live.latents.steps);
  const z = Float32Array.from(steps, (step, at) => {
    const d = at % dimensions;
    return live.low[d] + (step / 255) * (live.high[d] - live.low[d]);
  });

  // Where each row lies on the map, and how the map is laid out on the canvas.
  const onAxis = (row, axis) => {
    let sum = 0;
    for (let d = 0; d < dimensions; d++) sum += (z[row * dimensions + d] - live.centre[d]) * axis[d];
    return sum;
  };
  const xs = Float32Array.from({ length: rows }, (_, row) => onAxis(row, live.axes[0]));
  const ys = Float32Array.from({ length: rows }, (_, row) => onAxis(row, live.axes[1]));
  const range = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const [x0, x1] = range(xs), [y0, y1] = range(ys);
  const map = document.getElementById("map"), paper = map.getContext("2d"), margin = 30, legend = 150;
  const wide = map.width - 2 * margin - legend, high = map.height - 2 * margin;
  const toCanvas = (x, y) => [
    margin + ((x - x0) / (x1 - x0 || 1)) * wide,
    margin + high - ((y - y0) / (y1 - y0 || 1)) * high,
  ];
  const fromCanvas = (a, b) => [
    x0 + ((a - margin) / wide) * (x1 - x0),
    y0 + ((margin + high - b) / high) * (y1 - y0),
  ];
  const inOrder = [...new Set(live.names)].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const colourOf = new Map(inOrder.map((name, at) => [name, live.colours[at]]));

  // The point's place in all dimensions: the map's two, and those that it hides from rows nearby.
  const reach = 0.02 * Math.hypot(x1 - x0, y1 - y0) || 1;
  const latentAt = (x, y) => {
    const point = new Float64Array(dimensions);
    let total = 0, nearest = 0, least = Infinity;
    for (let row = 0; row < rows; row++) {
      const squared = (xs[row] - x) ** 2 + (ys[row] - y) ** 2;
      if (squared < least) [least, nearest] = [squared, row];
    }
    for (let row = 0; row < rows; row++) {
      const squared = (xs[row] - x) ** 2 + (ys[row] - y) ** 2;
      const weight = Math.exp(-(squared - least) / (2 * reach ** 2));
      if (weight < 1e-6) continue;
      total += weight;
      for (let d = 0; d < dimensions; d++) {
        const shown = xs[row] * live.axes[0][d] + ys[row] * live.axes[1][d];
        point[d] += weight * (z[row * dimensions + d] - live.centre[d] - shown);
      }
    }
    for (let d = 0; d < dimensions; d++)
      point[d] = point[d] / total + live.centre[d] + x * live.axes[0][d] + y * live.axes[1][d];
    return { point, nearest };
  };

  const decode = (point) => {
    let x = point;
    layers.forEach((layer, at) => {
      const out = new Float32Array(layer.outputs);
      for (let i = 0; i < layer.inputs; i++) {
        if (x[i] === 0) continue;
        const from = i * layer.outputs;
        for (let o = 0; o < layer.outputs; o++) out[o] += x[i] * layer.weights[from + o];
      }
      const last = at === layers.length - 1;
      for (let o = 0; o < layer.outputs; o++) {
        out[o] = out[o] * layer.scales[o] + layer.biases[o];
        if (!last) out[o] = Math.max(out[o], 0);
        else if (live.mean === "sigmoid") out[o] = 1 / (1 + Math.exp(-out[o]));
      }
      x = out;
    });
    return x;
  };

  const image = document.getElementById("image"), [height, width, channels = 1] = live.shape;
  image.width = width;
  image.height = height;
  const picture = image.getContext("2d"), pixels = picture.createImageData(width, height);
  const place = document.getElementById("place");

  const background = document.createElement("canvas");
  background.width = map.width;
  background.height = map.height;
  const below = background.getContext("2d");
  below.fillStyle = "#ffffff";
  below.fillRect(0, 0, map.width, map.height);
  below.globalAlpha = 0.75;
  for (let row = 0; row < rows; row++) {
    below.fillStyle = colourOf.get(live.names[row]);
    below.beginPath();
    below.arc(...toCanvas(xs[row], ys[row]), 3.4, 0, 2 * Math.PI);
    below.fill();
  }
  below.globalAlpha = 1;
  below.font = "22px system-ui, sans-serif";
  inOrder.slice(0, 24).forEach((name, at) => {
    const y = margin + 12 + 30 * at, x = map.width - legend;
    below.fillStyle = colourOf.get(name);
    below.beginPath();
    below.arc(x, y, 8, 0, 2 * Math.PI);
    below.fill();
    below.fillStyle = "#1c1e21";
    below.fillText(name.length > 10 ? name.slice(0, 9) + "…" : name, x + 16, y + 8);
  });

  let at = [margin + wide / 2, margin + high / 2];
  const show = () => {
    const { point, nearest } = latentAt(...fromCanvas(...at));
    decode(point).forEach((value, i) => {
      const pixel = Math.floor(i / channels), shade = 255 * value;
      for (let c = 0; c < 3; c++)
        if (channels === 1 || c === i % channels) pixels.data[4 * pixel + c] = shade;
      pixels.data[4 * pixel + 3] = 255;
    });
    picture.putImageData(pixels, 0, 0);
    paper.drawImage(background, 0, 0);
    for (const [radius, colour] of [[11, "#ffffff"], [9, "#111111"]]) {
      paper.strokeStyle = colour;
      paper.lineWidth = 4;
      paper.beginPath();
      paper.arc(...at, radius, 0, 2 * Math.PI);
      paper.stroke();
    }
    const name = live.names[nearest], cluster = `cluster ${live.clusters[nearest]}`;
    place.textContent = name === cluster ? `Nearest row: ${name}` : `Nearest row: ${name}, ${cluster}`;
  };
  const within = (value, most) => Math.min(Math.max(value, margin), margin + most);
  const moveTo = (a, b) => {
    at = [within(a, wide), within(b, high)];
    requestAnimationFrame(show);
  };
  const follow = (event) => {
    const box = map.getBoundingClientRect(), scale = map.width / box.width;
    moveTo((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    follow(event);
  });
  map.addEventListener("pointermove", (event) => event.buttons && follow(event));
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  map.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    const far = event.shiftKey ? 40 : 10;
    moveTo(at[0] + far * way[0], at[1] + far * way[1]);
  });
  show();
}
