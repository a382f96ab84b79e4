// The live page: one WebSocket brings facts (text) and pictures (binary); every drawn picture is acknowledged.
import { Commands, Events } from "./lists.js";
import { Picture, decode } from "./picture.js";
import { rig, trouble, vitals } from "./vitals.js";

const $ = (id) => document.getElementById(id);
const picture = new Picture($("canvas"));
const events = new Events($("events"), (row) => {
  choose(row.field);
  picture.point(row);
});
const commands = new Commands(
  $("commands"), events, (decide, approve) => say({ decide, approve }), () => Boolean(facts?.status.may_decide));

let socket = null;
let linked = false;
let facts = null;
let heardMs = performance.now();
let field = "";
let denoised = false;
let first = true;
let retryMs = 500;

function connect() {
  const address = new URL("ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    linked = true;
    retryMs = 500;
    first = true;
    events.clear();
    commands.clear();
    if (field) say({ field });
    if (denoised) say({ denoised });
  };
  socket.onmessage = ({ data }) => (typeof data === "string" ? hear(JSON.parse(data)) : see(data));
  socket.onclose = () => {
    linked = false;
    refresh();
    setTimeout(connect, retryMs);
    retryMs = Math.min(5000, retryMs * 1.6);
  };
}

function say(words) {
  const open = socket.readyState === WebSocket.OPEN;
  if (open) socket.send(JSON.stringify(words));
  return open;
}

function hear(news) {
  if ("decided" in news) return commands.decided(news.decided, news.refused);
  facts = news;
  heardMs = performance.now();
  $("events").dataset.fields = news.fields.length;
  events.update(news.events, first, news.wall_ms);
  commands.update(news.commands, first, news.wall_ms);
  first = false;
  vitals(news);
  fields(news);
  $("denoised").hidden = !news.status.denoised;
  refresh();
}

async function see(data) {
  const from = socket;
  const next = await decode(data);
  requestAnimationFrame(() => {
    if (!field || next.header.field === field) {
      picture.show(next);
      $("empty").hidden = true;
    }
    note(next.header);
    if (from === socket) say({ ack: next.header.serial });
  });
}

function note(header) {
  const node = $("note");
  const raw = !header.decided || (denoised && !header.denoised);
  const behind = `analysis ${header.behind} frame${header.behind === 1 ? "" : "s"} behind`;
  node.hidden = !raw && header.behind <= 3;
  if (!node.hidden) node.textContent = [...(raw ? ["raw image"] : []), ...(header.behind ? [behind] : [])].join("; ");
  $("plane").hidden = !facts?.status.projection || !header.decided;
  $("plane").textContent = `first plane; outlines of the ${facts?.status.projection} projection`;
}

// ---- fields, pixels and overlays

function fields(news) {
  field ||= news.field?.name ?? "";
  const box = $("fields");
  if (box.dataset.names !== String(news.fields)) {
    box.dataset.names = String(news.fields);
    box.replaceChildren(...news.fields.map((name) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", () => choose(name));
      return button;
    }));
  }
  for (const button of box.children) button.setAttribute("aria-pressed", String(button.textContent === field));
}

function choose(name) {
  if (name === field || !facts?.fields.includes(name)) return;
  field = name;
  picture.clear();
  $("empty").textContent = "Waiting for a frame";
  $("empty").hidden = false;
  say({ field });
  fields(facts);
  $("fields").querySelector("[aria-pressed=true]").scrollIntoView({ block: "nearest", inline: "nearest" });
}

function toggle(layer) {
  picture.layers[layer] = !picture.layers[layer];
  $(layer).setAttribute("aria-pressed", String(picture.layers[layer]));
  picture.draw();
}

function smooth() {
  denoised = !denoised;
  $("denoised").setAttribute("aria-pressed", String(denoised));
  say({ denoised });
}

$("denoised").addEventListener("click", smooth);
for (const layer of Object.keys(picture.layers)) $(layer).addEventListener("click", () => toggle(layer));

const KEYS = { o: "outlines", i: "ids", t: "trails", e: "marks" };
addEventListener("keydown", (press) => {
  if (press.ctrlKey || press.metaKey || press.altKey) return;
  if (KEYS[press.key]) toggle(KEYS[press.key]);
  if (press.key === "d" && facts?.status.denoised) smooth();
  const step = { ArrowLeft: -1, ArrowRight: 1 }[press.key];
  if (step && facts?.fields.length > 1) {
    const names = facts.fields;
    choose(names[(names.indexOf(field) + step + names.length) % names.length]);
  }
});

// ---- once a second, and whenever something is heard

function refresh() {
  const quietMs = performance.now() - heardMs;
  const seconds = Math.round(quietMs / 1000);
  const lost = ["bad", "Disconnected from the watch node.", ` Trying again. What you see is ${seconds} s old.`, true];
  const problem = linked ? facts && trouble(facts, quietMs) : lost;
  const banner = $("banner");
  banner.hidden = !problem;
  $("stage").classList.toggle("stale", Boolean(problem?.[3]));
  if (problem) {
    banner.dataset.tone = problem[0];
    const [what, more] = banner.children;
    if (what.textContent !== problem[1]) what.textContent = problem[1];
    more.textContent = problem[2];
  }
  if (facts) rig(facts, linked);
}

setInterval(() => {
  refresh();
  if (!facts) return;
  const wallMs = facts.wall_ms + performance.now() - heardMs;
  events.ages(wallMs);
  commands.ages(wallMs);
  const header = picture.picture?.header;
  if (header) $("canvas").setAttribute("aria-label", `${header.field}, frame ${header.frame}, ${facts.field?.cells ?? "no"} cells`);
}, 1000);

connect();
