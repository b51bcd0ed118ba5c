// The generator: a point in latent space, dimension by dimension, and draws of a class.

import { $, make, trying } from "./dom.js";

export function showGenerator(app, looks, openTab) {
  const panel = $("panel-make"), { about } = app;
  const z = about.centre.slice();
  const image = make("div", { className: "decoded" });
  let asking = false, stale = false;

  const decode = trying(async () => {
    stale = true;
    if (asking) return; // what is asked for last is decoded once the server is free
    asking = true;
    try {
      while (stale) {
        stale = false;
        const [look] = await looks.ask("/decode", { z: [z] });
        image.replaceChildren(looks.element(look, "what the decoder makes of the point"));
      }
    } finally {
      asking = false;
    }
  });

  const sliders = about.centre.map((value, dimension) => {
    const [low, high] = [about.low[dimension], about.high[dimension]], wide = high - low || 1;
    const input = make("input", { type: "range", min: low - 0.25 * wide, max: high + 0.25 * wide, step: wide / 200, value });
    input.addEventListener("input", () => {
      z[dimension] = Number(input.value);
      decode();
    });
    return input;
  });
  const take = (latents) => {
    latents.forEach((value, dimension) => {
      z[dimension] = value;
      sliders[dimension].value = value;
    });
    decode();
  };

  const of = make("select"), drawn = make("div");
  let seed = 0;
  const fill = () => {
    const before = of.value;
    of.replaceChildren(
      make("option", { value: "all" }, "all"),
      ...app.state.classes.map((name) => make("option", { value: `label:${name}` }, name)),
      ...app.state.clusters.map(({ cluster }) => make("option", { value: `cluster:${cluster}` }, `cluster ${cluster}`)),
    );
    if ([...of.options].some((option) => option.value === before)) of.value = before;
  };
  const draw = make("button", { type: "button" }, "Draw 24");
  draw.addEventListener(
    "click",
    trying(async () => {
      const [kind, ...rest] = of.value.split(":"), what = rest.join(":");
      const asked = { n: 24, seed: seed++ };
      if (kind === "label") asked.label = what;
      if (kind === "cluster") asked.cluster = Number(what);
      const found = await looks.ask("/draws", asked);
      drawn.replaceChildren(looks.sheet(found.map((look) => ({ look, said: "a draw" }))));
    }),
  );
  const middle = make("button", { type: "button" }, "Back to the middle");
  middle.addEventListener("click", () => take(about.centre));

  panel.replaceChildren(
    make("h2", {}, "Generator"),
    image,
    make(
      "div",
      { className: "sliders" },
      ...sliders.map((slider, dimension) => make("label", {}, make("span", {}, `z${dimension}`), slider)),
    ),
    make("p", { className: "line" }, middle),
    make("h3", {}, "Draws"),
    make("p", { className: "line" }, make("label", {}, "of ", of), draw),
    drawn,
  );
  app.on("changed", fill);
  app.on("latents", (event) => {
    openTab("make");
    take(event.detail);
  });
  fill();
  decode();
}
