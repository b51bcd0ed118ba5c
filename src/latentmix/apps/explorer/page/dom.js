// Elements with text that stays text: whatever a class or a file is called, it is never markup.

export const $ = (id) => document.getElementById(id);

/** Make an element: properties, then children that are elements or text. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const swatch = (colour) => {
  const dot = make("span", { className: "swatch", ariaHidden: "true" });
  dot.style.background = colour;
  return dot;
};

/** A bar for a share in [0, 1] with its text beside it. */
export function bar(name, share, colour) {
  const filled = make("span", { className: "filled" });
  filled.style.width = `${100 * share}%`;
  filled.style.background = colour;
  return make(
    "div",
    { className: "bar" },
    make("span", { className: "name" }, name),
    make("span", { className: "track" }, filled),
    make("span", { className: "value" }, percent(share)),
  );
}

/** A share as text; near certainty with another digit. Its space does not break. */
export function percent(share) {
  const digits = share === 0 || share === 1 ? 0 : share > 0.995 || share < 0.005 ? 2 : 1;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}
export const count = (n) => n.toLocaleString("en");

let saidUntil;
/** Tell a sentence below, for a while. */
export function say(text, isError = false) {
  const place = $("said");
  place.textContent = text;
  place.className = isError ? "error" : "";
  clearTimeout(saidUntil);
  saidUntil = setTimeout(() => (place.textContent = ""), isError ? 12000 : 5000);
}

/** Do what may fail, and tell why it did. */
export const trying = (work) => async (...given) => {
  try {
    return await work(...given);
  } catch (error) {
    say(error.message, true);
    return undefined;
  }
};
