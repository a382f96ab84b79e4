// The numbers: rig, rates, latency, losses, counts.
import { TONES, latency, ms, number, rate, sentence } from "./words.js";

const $ = (id) => document.getElementById(id);

function put(id, content, tone = "") {
  const node = $(id);
  if (node.textContent !== content) node.textContent = content;
  node.classList.toggle("bad", tone === "bad");
  node.classList.toggle("warn", tone === "warn");
}

function spark(id, values) {
  const svg = $(id);
  if (!svg.firstChild) {
    svg.setAttribute("viewBox", "0 0 119 18");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.append(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
  }
  const top = Math.max(...values, 1e-9);
  const low = Math.min(...values, top) * 0.8;
  const y = (value) => (17 - (16 * (value - low)) / (top - low || 1)).toFixed(1);
  const points = values.map((value, i) => `${120 - values.length + i},${y(value)}`).join(" ");
  svg.firstChild.setAttribute("points", points);
}

const OTHERS = [
  ["mitosis.provisional", "about to divide"],
  ["death.confirmed", "died"],
  ["exit.confirmed", "left"],
  ["moved_off.confirmed", "out of the picture since it moved"],
];

export function otherCells(counts) {
  return OTHERS.map(([key, word]) => counts[key] && `${counts[key]} ${word}`).filter(Boolean).join(", ") || "none announced, died or left";
}

export function vitals(facts) {
  const field = facts.field;
  const counts = facts.counts;
  const lost = facts.losses.reduce((sum, [, , n]) => sum + n, 0);
  const [frames, per] = rate(field?.fps);
  put("v-fps", frames);
  put("v-per", per);
  put("v-behind", field ? (field.behind > 1 ? `${field.behind} frames behind` : "keeping up") : "", field?.behind > 8 ? "warn" : "");
  const slow = facts.latency_ms.p99 >= 1000;
  put("v-p50", latency(facts.latency_ms.p50, slow));
  put("v-p99", latency(facts.latency_ms.p99, slow), slow ? "warn" : "");
  put("v-unit", slow ? "s" : "ms");
  const stages = Object.entries(facts.latency_ms.stages).map(([stage, q]) => `${stage} ${latency(q.p50)}`);
  put("v-stages", stages.length ? `${stages.join(", ")} ms` : "–");
  spark("s-latency", facts.latency_ms.line);
  put("v-lost", String(lost), lost ? "bad" : "");
  const worst = facts.losses.toSorted((a, b) => b[2] - a[2]).map(([stage, reason, n]) => `${stage} ${reason.replaceAll("_", " ")} ${n}`);
  put("v-worst", worst.length > 1 ? `${worst.length} reasons` : lost ? "one reason" : "nothing lost");
  put("v-losses", worst.join(", ") || "none");
  put("v-divisions", String(counts["division.confirmed"] ?? 0));
  put("v-pending", `${counts["division.provisional"] ?? 0} open, ${counts["division.retracted"] ?? 0} retracted`);
  put("v-others", otherCells(counts));
  put("v-cells", number(field?.cells));
  spark("s-cells", field?.cells_line ?? []);
  put("v-applied", String(facts.command_counts.applied ?? 0));
  const others = Object.entries(facts.command_counts).filter(([state]) => state !== "applied");
  const all = Object.values(facts.command_counts).reduce((sum, n) => sum + n, 0);
  put("v-asked", all ? `of ${all} asked for` : "none asked for");
  put("v-refused", others.map(([state, n]) => `${n} ${state}`).join(", "));
}

export function rig(facts, linked) {
  const { status, field } = facts;
  const word = linked ? status.rig ?? (facts.frame_age_ms === null ? "starting" : "running") : "disconnected";
  const node = $("rig");
  node.textContent = sentence(word) + (linked && status.shadow ? ", feedback in shadow" : "");
  node.dataset.tone = linked ? TONES[word] ?? "idle" : "bad";
  $("run").textContent = facts.run;
  document.title = `${sentence(word)} – ${facts.run || "cytoloop"}`;
  nodes(status.nodes ?? {}, linked);
  put("f-frame", field ? number(field.frame) : "–");
  put("f-exposure", ms(status.exposure_ms ?? field?.exposure_ms));
  put("f-interval", status.interval_ms === 0 ? "none" : ms(status.interval_ms));
  put("f-light", light(status));
  put("f-dose", ...dose(status.dose, field?.name));
  put("f-stage", (status.stage_um ?? field?.stage_um)?.map((v) => number(v, 1)).join(", ").concat(" µm") ?? "–");
}

function light(status) {
  if (status.light_on === false) return "off";
  return status.light_power === undefined || status.light_power === null ? "–" : `${number(status.light_power * 100)} %`;
}

// What the shown field has had: in J/cm² where the light is calibrated; bursts count for their position's field.
function dose(ledger, field) {
  const had = ledger?.fields[(field ?? "").replace(/\/.*$/s, "")];
  if (!had) return ["–"];
  const tone = { warn: "warn", throttle: "warn", spent: "bad" }[had.level] ?? "";
  const whole = ledger.budget_full_power_s ? ` (${number((100 * had.full_power_s) / ledger.budget_full_power_s)} %)` : "";
  if (had.j_per_cm2 !== undefined) return [`${Number(had.j_per_cm2.toPrecision(3))} J/cm²${whole}`, tone];
  return [`${Number(had.full_power_s.toPrecision(3))} s at full power${whole}, not calibrated`, tone];
}

function nodes(alive, linked) {
  const names = Object.keys(alive);
  const list = $("nodes");
  list.classList.toggle("unknown", !linked);
  if (list.dataset.names !== String(names)) {
    list.dataset.names = String(names);
    list.replaceChildren(...names.map(() => document.createElement("li")));
  }
  names.forEach((name, i) => {
    const dead = linked && !alive[name];
    list.children[i].className = dead ? "dead" : "";
    list.children[i].textContent = dead ? `${name} not answering` : name;
  });
}

// The one thing that a person at the rig must know first: [tone, what, more, whether the picture is old].
export function trouble(facts, quietMs) {
  const { status } = facts;
  const why = status.reason ? ` ${status.reason}` : "";
  if (quietMs > 4000) return ["bad", "The watch node is silent.", ` Last word ${ms(quietMs)} ago.`, true];
  if (status.rig === "base_plan") return ["bad", "Back on the base plan: the rig takes no feedback.", why, false];
  const dead = Object.entries(status.nodes ?? {}).filter(([, alive]) => !alive).map(([name]) => name);
  if (status.rig === "ended") return ["gone", "The run has ended.", why, false];
  if (dead.length) return ["bad", `Not answering: ${dead.join(", ")}.`, why, false];
  if (status.rig === "paused") return ["warn", "Paused.", why, false];
  const waiting = status.approvals?.length ?? 0;
  if (waiting) return ["warn", waiting === 1 ? "A command waits for approval." : `${waiting} commands wait for approval.`, "", false];
  const slowest = Math.max(status.interval_ms ?? 0, status.longest_interval_ms ?? 0, status.exposure_ms ?? 0);
  const limit = Math.max(2000, 3 * slowest);
  const frameAge = facts.frame_age_ms === null ? 0 : facts.frame_age_ms + quietMs;
  return frameAge > limit ? ["warn", `No new frame for ${ms(frameAge)}.`, "", true] : null;
}
