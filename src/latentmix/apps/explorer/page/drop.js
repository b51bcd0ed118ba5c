// An image from elsewhere: dropped on the page, classified, and shown on the map.

import { $, trying } from "./dom.js";
import { postFile } from "./net.js";

export function takeDrops(app, map, rows) {
  const curtain = $("drop");
  let deep = 0;

  const take = trying(async (file, inverted) => {
    const query = new URLSearchParams({ name: file.name, axes: $("axes").value, inverted });
    const found = await postFile(`/drop?${query}`, file);
    map.setMarks(found.place ? [{ x: found.place[0], y: found.place[1], label: file.name.slice(0, 24) }] : []);
    rows.showDropped(found, file.name, () => take(file, !inverted), () => take(file, inverted));
  });

  const cover = (by) => {
    deep = Math.max(0, deep + by);
    curtain.hidden = deep === 0;
  };
  addEventListener("dragenter", (event) => event.dataTransfer.types.includes("Files") && cover(1));
  addEventListener("dragleave", (event) => event.dataTransfer.types.includes("Files") && cover(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    cover(-deep);
    const [file] = event.dataTransfer.files;
    if (file) take(file, false);
  });
}
