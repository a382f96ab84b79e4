// The lists of events and commands: rows change in place, new ones come on top.
import { TONES, age, asks, number, readback, sentence } from "./words.js";

function element(tag, className, content = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = content;
  return node;
}

class List {
  constructor(list, limit) {
    this.list = list;
    this.limit = limit;
    this.rows = new Map(); // by n
  }

  update(rows, first, wallMs) {
    for (const row of rows) {
      let entry = this.rows.get(row.n);
      if (!entry) {
        entry = { item: this.build() };
        if (!first) entry.item.classList.add("new");
        this.rows.set(row.n, entry);
        this.list.prepend(entry.item);
      }
      entry.row = row;
      this.fill(entry.item, row);
      this.#age(entry, wallMs);
    }
    for (const [n, { item, row }] of this.rows) {
      if (this.rows.size <= this.limit) break;
      if (this.stays(row)) continue;
      item.remove();
      this.rows.delete(n);
    }
  }

  stays = () => false;

  clear() {
    this.rows.clear();
    this.list.replaceChildren();
  }

  ages(wallMs) {
    for (const entry of this.rows.values()) this.#age(entry, wallMs);
  }

  #age({ item, row }, wallMs) {
    put(item, ".age", age((wallMs - this.since(row)) / 1000));
  }
}

function put(item, selector, content) {
  const node = item.querySelector(selector);
  if (node.textContent !== content) node.textContent = content;
}

function state(item, word, extra = "") {
  const node = item.querySelector(".state");
  node.dataset.tone = TONES[word] ?? "idle";
  const content = `${sentence(word)}${extra}`;
  if (node.textContent !== content) node.textContent = content;
}

export class Events extends List {
  constructor(list, point) {
    super(list, 200);
    this.point = point;
  }

  since = (row) => row.begun_wall_ms;

  build() {
    const item = document.createElement("li");
    const thumb = element("img", "thumb");
    thumb.alt = "";
    thumb.width = 108;
    thumb.height = 54;
    const middle = document.createElement("div");
    const what = element("button", "what");
    what.type = "button";
    middle.append(what, element("p", "state"), element("p", "detail where"));
    item.append(thumb, middle, element("p", "detail age"));
    item.addEventListener("click", () => this.choose(item.dataset.id));
    return item;
  }

  fill(item, row) {
    item.dataset.id = row.event_id;
    item.className = `${row.status}${item.classList.contains("new") ? " new" : ""}`;
    const daughters = row.daughter_ids.length ? ` → ${row.daughter_ids.join(", ")}` : "";
    put(item, ".what", `${sentence(row.kind)} ${row.parent_id}${daughters}`);
    const where = [`frame ${row.frame}`, this.list.dataset.fields > 1 && row.field, row.reason.replaceAll("_", " ")];
    put(item, ".where", where.filter(Boolean).join(", "));
    state(item, row.status, ` ${number(row.confidence * 100)} %`);
    const thumb = item.querySelector(".thumb");
    if (row.thumb && !thumb.src) thumb.src = `thumb/${row.n}.jpg`;
  }

  choose(id) {
    for (const { item, row } of this.rows.values()) {
      const chosen = row.event_id === id;
      item.setAttribute("aria-current", String(chosen));
      if (!chosen) continue;
      item.scrollIntoView({ block: "nearest" });
      this.point(row);
    }
  }

  find(id) {
    for (const { row } of this.rows.values()) if (row.event_id === id) return row;
    return null;
  }
}

const PROGRESS = ["sent", "received", "accepted"];
const waits = (row) => row.state === "accepted" && row.reason === "waits for approval";

export class Commands extends List {
  // decide(id, approve) gives the operator's word, and is false where that cannot leave; mayDecide() says whether this
  // page may.
  constructor(list, events, decide, mayDecide) {
    super(list, 100);
    this.events = events;
    this.decide = decide;
    this.mayDecide = mayDecide;
  }

  since = (row) => row.wall_ms;
  stays = (row) => PROGRESS.includes(row.state);

  build() {
    const item = document.createElement("li");
    const middle = document.createElement("div");
    middle.append(element("p", "what"), element("p", "detail why"), element("p", "detail answer"));
    const end = element("div", "end");
    end.append(element("p", "state"), element("p", "detail age"));
    item.append(middle, end, this.#ask(item));
    return item;
  }

  fill(item, row) {
    put(item, ".what", asks(row));
    this.#because(item.querySelector(".why"), row);
    const seen = row.first_frame === null ? "" : `from frame ${row.first_frame}`;
    const said = readback(row.readback);
    put(item, ".answer", [row.reason, said && `read back: ${said}`, seen].filter(Boolean).join("; "));
    state(item, row.state);
    item.dataset.id = row.command_id;
    item.querySelector(".ask").hidden = !waits(row) || !this.mayDecide();
  }

  #ask(item) {
    const ask = element("div", "ask");
    const buttons = [["Approve", true], ["Deny", false]].map(([word, approve]) => {
      const button = element("button", "", word);
      button.type = "button";
      button.addEventListener("click", () => {
        for (const one of buttons) one.disabled = true;
        ask.lastChild.textContent = "";
        if (!this.decide(item.dataset.id, approve)) this.decided(item.dataset.id, "not connected to the watch node");
      });
      return button;
    });
    const refused = element("p", "detail");
    refused.setAttribute("role", "status");
    ask.append(...buttons, refused);
    ask.hidden = true;
    return ask;
  }

  // What came of an operator's word: where it did not count, say why and let them try again.
  decided(id, refused) {
    if (!refused) return;
    for (const { item } of this.rows.values()) {
      if (item.dataset.id !== id) continue;
      for (const button of item.querySelectorAll(".ask button")) button.disabled = false;
      put(item, ".ask p", `Not decided: ${refused}`);
    }
  }

  // "because of division 51, frame 196 (divisions.toml)"; the event's part is a link to its row.
  #because(node, row) {
    const event = row.event_id && this.events.find(row.event_id);
    const key = `${row.origin} ${row.event_id} ${Boolean(event)}`;
    if (node.dataset.key === key) return;
    node.dataset.key = key;
    if (!row.event_id) return node.replaceChildren(row.origin ? `by ${row.origin}` : "");
    const link = element("a", "", event ? `${event.kind} ${event.parent_id}, frame ${event.frame}` : row.event_id);
    link.href = "#events";
    link.addEventListener("click", (click) => {
      click.preventDefault();
      this.events.choose(row.event_id);
    });
    return node.replaceChildren("because of ", link, row.origin ? ` (${row.origin})` : "");
  }
}
