// How numbers, kinds and states are said.

export const PALETTE = ["#E69F00", "#56B4E9", "#2BCB9B", "#F0E442", "#5C9BFF", "#FF7F50", "#E29AC4"];

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : Number(value).toFixed(digits);

export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return `${number(value / 1000, value < 10000 ? 1 : 0)} s`;
  return `${number(value, value < 10 && value % 1 ? 1 : 0)} ms`;
}

// Frames as a number and the unit of time: what is rarer than one a second counts by the minute.
export function rate(perSecond) {
  if (!perSecond || perSecond >= 0.95) return [number(perSecond, perSecond < 10 ? 1 : 0), "s"];
  const perMinute = 60 * perSecond;
  return [number(perMinute, perMinute < 1 ? 2 : perMinute < 10 ? 1 : 0), "min"];
}

// Latency as a bare number, in ms or (where `seconds`) in s.
export function latency(value, seconds = false) {
  if (value === null || value === undefined) return "–";
  const shown = seconds ? value / 1000 : value;
  return number(shown, seconds && shown < 1 ? 2 : shown < 10 ? 1 : 0);
}

export function age(seconds) {
  const s = Math.max(0, seconds);
  if (s < 2) return "now";
  if (s < 90) return `${Math.round(s)} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  return `${Math.round(s / 3600)} h ago`;
}

const spaced = (word) => word.replaceAll("_", " ");
export const sentence = (word) => spaced(word).replace(/^./, (c) => c.toUpperCase());

const KEYS = { exposure_ms: "", interval_ms: "", power: "", on: "", roi_px: "", target_um: "to" };
const UNITS = { _ms: "ms", _um: "µm", _px: "px" };

function value(key, item) {
  if (key === "power" || key === "light_power") return `${number(item * 100)} %`;
  if (key === "on" || key === "light_on") return item ? "on" : "off";
  const unit = UNITS[key.slice(-3)] ?? "";
  const one = (v) => (typeof v === "number" ? String(Math.round(v * 100) / 100) : String(v));
  const text = Array.isArray(item) ? item.map(one).join(", ") : typeof item === "object" && item ? "…" : one(item);
  return unit ? `${text} ${unit}` : text;
}

const plain = (key) => spaced(key.replace(/_(ms|um|px)$/, ""));
const label = (key) => (key in KEYS ? KEYS[key] : plain(key));

// What a command asks for, in a few words: "Set exposure 20 ms".
export function asks(row) {
  const parts = Object.entries(row.asked).filter(([, item]) => item !== null && item !== undefined);
  return [sentence(row.kind || "command"), ...parts.map(([key, item]) => `${label(key)} ${value(key, item)}`.trim())].join(" ");
}

export function readback(values) {
  return Object.entries(values).map(([key, item]) => `${plain(key)} ${value(key, item)}`).join(", ");
}

export const TONES = {
  provisional: "wait", confirmed: "done", retracted: "gone",
  sent: "wait", received: "wait", accepted: "wait", applied: "done", refused: "bad", denied: "bad", expired: "warn",
  superseded: "gone", shadowed: "gone", failed: "bad", unknown: "warn",
  starting: "wait", running: "good", paused: "warn", base_plan: "bad", ended: "gone",
};
