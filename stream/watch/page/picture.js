// The picture: image, outlines, trails, ids, event marks and a scale bar on one canvas.
import { PALETTE } from "./words.js";

const TRAIL = 12;
const text = new TextDecoder();

export async function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(text.decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  const [jpeg, png, cells] = header.parts.map((size) => buffer.slice(at, (at += size)));
  const bitmap = (data, type) => (data.byteLength ? createImageBitmap(new Blob([data], { type })) : null);
  const [image, outline] = await Promise.all([bitmap(jpeg, "image/jpeg"), bitmap(png, "image/png")]);
  return { header, image, outline, cells: new Int32Array(cells) };
}

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.layers = { outlines: true, ids: false, trails: true, marks: true };
    this.picture = null;
    this.trails = new Map();
    this.pointed = null;
    this.drawn = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  show(picture) {
    const before = this.picture;
    if (!before || this.#moved(before.header, picture.header)) this.trails.clear();
    before?.image.close();
    before?.outline?.close();
    this.picture = picture;
    if (picture.header.decided) this.#follow(picture);
    this.draw();
    this.canvas.dataset.drawn = ++this.drawn;
    this.canvas.dataset.frame = picture.header.frame;
  }

  clear() {
    this.picture = null;
    this.trails.clear();
    this.draw();
  }

  // Point at an event's place for a while.
  point(row) {
    const [y, x] = row.daughters_yx_px.length ? mean(row.daughters_yx_px) : row.parent_yx_px;
    this.pointed = { field: row.field, x, y, until: performance.now() + 4000 };
    this.draw();
    setTimeout(() => this.draw(), 4050);
  }

  draw() {
    const { canvas, context: c, picture } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    if (!picture) return;
    const [w, h] = picture.header.size;
    const scale = Math.min(width / w, height / h);
    const [left, top] = [(width - w * scale) / 2, (height - h * scale) / 2];
    c.imageSmoothingQuality = "high";
    c.drawImage(picture.image, left, top, w * scale, h * scale);
    if (this.layers.outlines && picture.outline) c.drawImage(picture.outline, left, top, w * scale, h * scale);
    c.save();
    c.beginPath();
    c.rect(left, top, w * scale, h * scale);
    c.clip();
    const place = (x, y) => [left + (x + 0.5) * scale, top + (y + 0.5) * scale];
    if (this.layers.trails) this.#drawTrails(place);
    if (this.layers.ids) this.#drawIds(place);
    if (this.layers.marks) this.#drawMarks(place, scale);
    this.#drawPointer(place);
    c.restore();
    this.#drawScaleBar(left, top, w * scale, h * scale, scale);
  }

  #moved(a, b) {
    return a.field !== b.field || a.epoch !== b.epoch || String(a.stage_um) !== String(b.stage_um) || b.frame < a.frame;
  }

  #follow({ header, cells }) {
    const seen = new Set();
    for (let i = 0; i < cells.length; i += 3) {
      const id = cells[i];
      seen.add(id);
      const trail = this.trails.get(id) ?? [];
      trail.push(cells[i + 1], cells[i + 2]);
      if (trail.length > 2 * TRAIL) trail.splice(0, 2);
      trail.frame = header.frame;
      this.trails.set(id, trail);
    }
    for (const [id, trail] of this.trails) if (!seen.has(id) && header.frame - trail.frame > 3) this.trails.delete(id);
  }

  #drawTrails(place) {
    const c = this.context;
    c.lineWidth = 1.25;
    c.globalAlpha = 0.8;
    for (const [id, trail] of this.trails) {
      c.strokeStyle = PALETTE[id % PALETTE.length];
      c.beginPath();
      for (let i = 0; i < trail.length; i += 2) c.lineTo(...place(trail[i], trail[i + 1]));
      c.stroke();
    }
    c.globalAlpha = 1;
  }

  #drawIds(place) {
    const { context: c, picture: { cells } } = this;
    c.font = "600 11px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.lineWidth = 3;
    c.strokeStyle = "rgb(0 0 0 / .75)";
    c.fillStyle = "#fff";
    for (let i = 0; i < cells.length; i += 3) {
      const [x, y] = place(cells[i + 1], cells[i + 2]);
      c.strokeText(cells[i], x, y);
      c.fillText(cells[i], x, y);
    }
  }

  // Provisional: dashed ring. Confirmed: two solid rings and a bar between the daughters. Retracted: a cross.
  #drawMarks(place, scale) {
    const { context: c, picture: { header, cells } } = this;
    const now = new Map();
    for (let i = 0; i < cells.length; i += 3) now.set(cells[i], [cells[i + 2], cells[i + 1]]);
    for (const mark of header.marks) {
      const points = mark.yx.map((yx, i) => now.get(mark.ids[i]) ?? yx).map(([y, x]) => place(x, y));
      const radius = Math.max(13, 11 * scale);
      c.globalAlpha = 1 - 0.07 * (header.frame - mark.frame);
      c.lineWidth = mark.status === "confirmed" ? 2.5 : 1.75;
      c.strokeStyle = { provisional: "#56B4E9", confirmed: "#FFFFFF", retracted: "#9aa1a8" }[mark.status];
      c.setLineDash(mark.status === "provisional" ? [4, 4] : []);
      c.beginPath();
      if (mark.status === "retracted") cross(c, ...mean(points), 6);
      else {
        for (const [x, y] of points) {
          c.moveTo(x + radius, y);
          c.arc(x, y, radius, 0, 2 * Math.PI);
        }
        bars(c, points, radius);
      }
      c.stroke();
    }
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  #drawPointer(place) {
    const { context: c, pointed, picture } = this;
    if (!pointed || pointed.field !== picture.header.field || performance.now() > pointed.until) return;
    const [x, y] = place(pointed.x, pointed.y);
    c.strokeStyle = "#F0E442";
    c.lineWidth = 2;
    c.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      c.moveTo(x + 20 * dx, y + 20 * dy);
      c.lineTo(x + 46 * dx, y + 46 * dy);
    }
    c.stroke();
  }

  #drawScaleBar(left, top, width, height, scale) {
    const um = this.picture.header.pixel_um;
    if (!(um > 0)) return;
    const longest = (width / 4 / scale) * um;
    const base = 10 ** Math.floor(Math.log10(longest));
    const length = [5, 2, 1].map((step) => step * base).find((step) => step <= longest);
    const pixels = (length / um) * scale;
    const c = this.context;
    const [x, y] = [left + width - pixels - 16, top + height - 16];
    c.fillStyle = "#fff";
    c.shadowColor = "#000";
    c.shadowBlur = 4;
    c.fillRect(x, y, pixels, 3);
    c.font = "600 12px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "bottom";
    c.fillText(`${+length.toPrecision(1)} µm`, x + pixels / 2, y - 3);
    c.shadowBlur = 0;
  }
}

function mean(points) {
  return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}

function cross(c, x, y, r) {
  c.moveTo(x - r, y - r);
  c.lineTo(x + r, y + r);
  c.moveTo(x - r, y + r);
  c.lineTo(x + r, y - r);
}

// Join neighbouring rings with a bar where there is room between them.
function bars(c, points, radius) {
  for (let i = 1; i < points.length; i++) {
    const [[ax, ay], [bx, by]] = [points[i - 1], points[i]];
    const distance = Math.hypot(bx - ax, by - ay);
    if (distance <= 2 * radius) continue;
    const [ux, uy] = [((bx - ax) / distance) * radius, ((by - ay) / distance) * radius];
    c.moveTo(ax + ux, ay + uy);
    c.lineTo(bx - ux, by - uy);
  }
}
