// Which rows are shown: of some clusters, classes and parts, and between bounds.

import { $, count, make } from "./dom.js";
import { NO_NAME } from "./palette.js";

export function showFilters(app, map) {
  const place = $("filters");
  const hidden = { cluster: new Set(), class: new Set(), part: new Set() };
  const bounds = { sure: [0, 255], density: [0, 255] };
  const nameOf = (code) => (code === NO_NAME ? NO_NAME : app.state.classes[code]);

  const mask = () => {
    const n = app.about.rows, shown = new Uint8Array(n), { sure, density } = bounds;
    // By their names: a class has another number once there are others.
    const codes = [NO_NAME, ...app.state.classes.keys()].filter((code) => hidden.class.has(nameOf(code)));
    const hiddenCodes = new Set(codes);
    for (let row = 0; row < n; row++) {
      shown[row] = Number(
        app.sure[row] >= sure[0] && app.sure[row] <= sure[1] &&
        app.density[row] >= density[0] && app.density[row] <= density[1] &&
        !hidden.cluster.has(app.clusters[row]) && !hiddenCodes.has(app.classes[row]) &&
        !hidden.part.has(app.part[row]),
      );
    }
    return shown;
  };
  const isOpen = () =>
    Object.values(hidden).every((set) => !set.size) &&
    Object.values(bounds).every(([low, high]) => low === 0 && high === 255);
  const apply = () => {
    const shown = isOpen() ? null : mask();
    map.setShown(shown);
    const n = shown === null ? app.about.rows : shown.reduce((sum, value) => sum + value, 0);
    $("filters").previousElementSibling.textContent = shown === null ? "Filter" : `Filter (${count(n)} shown)`;
  };

  const boxes = (title, kind, choices) =>
    make(
      "fieldset",
      {},
      make("legend", {}, title),
      make(
        "div",
        { className: "line" },
        ...[["all", false], ["none", true]].map(([text, hide]) => {
          const button = make("button", { type: "button", ariaLabel: `${title}: ${text}` }, text);
          button.addEventListener("click", (event) => {
            event.stopPropagation();
            hidden[kind] = new Set(hide ? choices.map(([value]) => value) : []);
            draw();
          });
          return button;
        }),
      ),
      ...choices.map(([value, name]) => {
        const box = make("input", { type: "checkbox", checked: !hidden[kind].has(value) });
        box.addEventListener("change", () => {
          if (box.checked) hidden[kind].delete(value);
          else hidden[kind].add(value);
          apply();
        });
        return make("label", {}, box, ` ${name}`);
      }),
    );
  const range = (title, kind) => {
    const inputs = [0, 1].map((end) => {
      const input = make("input", { type: "range", min: 0, max: 255, value: bounds[kind][end], ariaLabel: `${title}, ${end ? "at most" : "at least"}` });
      input.addEventListener("input", () => {
        bounds[kind][end] = Number(input.value);
        apply();
      });
      return input;
    });
    return make("fieldset", {}, make("legend", {}, title), make("label", {}, "at least ", inputs[0]), make("label", {}, "at most ", inputs[1]));
  };

  const draw = () => {
    const classes = app.state.classes.map((name) => [name, name]);
    place.replaceChildren(
      boxes("Clusters", "cluster", app.state.clusters.map(({ cluster }) => [cluster, app.clusterTitle(cluster)])),
      boxes("Classes", "class", [...classes, [NO_NAME, "without a name"]]),
      boxes("Parts", "part", app.about.parts.map((name, at) => [at, name])),
      range("Probability", "sure"),
      range("Density rank", "density"),
    );
    apply();
  };
  app.on("changed", draw);
  draw();
}
