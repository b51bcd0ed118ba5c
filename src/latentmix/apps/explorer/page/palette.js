// Colours that people with colour-vision deficiencies tell apart (Petroff 2021), and more of them
// by the golden angle where there are more names. A name keeps its colour while the page is open.

const TEN = [
  "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
  "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
];
export const NO_NAME = 65535;

function hexOf(hue, saturation, lightness) {
  const part = (n) => {
    const k = (n + hue / 30) % 12, a = saturation * Math.min(lightness, 1 - lightness);
    const value = lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

export const colourAt = (at) =>
  at < TEN.length ? TEN[at] : hexOf((at * 137.508) % 360, 0.65, 0.35 + 0.12 * (at % 3));

const places = new Map();
export function colourOf(name) {
  if (!places.has(name)) places.set(name, places.size);
  return colourAt(places.get(name));
}

/** 256 steps from dark blue to yellow, even to the eye (after cividis). */
export const RAMP = Array.from({ length: 256 }, (_, step) => {
  const t = step / 255;
  const channel = (from, middle, to) =>
    Math.round(t < 0.5 ? from + 2 * t * (middle - from) : middle + (2 * t - 1) * (to - middle))
      .toString(16)
      .padStart(2, "0");
  return `#${channel(0, 124, 254)}${channel(34, 123, 232)}${channel(78, 120, 56)}`;
});
