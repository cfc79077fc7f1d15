// The map: regions as boxes, links as arrows, drawn where there is room: side by side, or on a
// phone above one another. Everything on it stands in the table below it, too.

import { h } from "./dom.js";
import { STATES, rate, shape, several, span, worst } from "./words.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");

export function map(mirrors, rates, narrow) {
  const size = narrow ? { w: 360, h: 430, box: [128, 50], gap: 62, chip: [104, 42] } : { w: 960, h: 380, box: [164, 62], gap: 58, chip: [138, 44] };
  const links = mirrors.flatMap((mirror) => mirror.links.map((link) => ({ ...link, mirror, speed: rates(mirror, link), from: place(link.source, mirror.source), to: place(link.target, link.table) })));
  const places = [...new Map(links.flatMap(({ from, to }) => [from, to]).map((one) => [one.id, one])).values()]
    .sort((a, b) => links.filter((one) => one.from.id === b.id).length - links.filter((one) => one.from.id === a.id).length || (a.id < b.id ? -1 : 1));
  if (places.length > 2) size.h += narrow ? 60 : 80;
  else if (!narrow) size.h = 290;
  const spots = new Map(places.map((one, n) => [one.id, spot(n, places.length, size, narrow)]));
  filled(spots, size);
  const taken = [...spots.values()].map(({ x, y }) => ({ x, y, w: size.box[0], h: size.box[1] }));
  const arrows = bundled(links).map((one) => arrow(one, spots, size, taken));
  const told = links.map((one) => `${one.mirror.name}: ${one.from.name} to ${one.to.name}, ${STATES[one.state]}`).join("; ");
  return h("svg", { viewBox: `0 0 ${size.w} ${size.h}`, class: "map", role: "img", "aria-label": `Map of regions and links. ${told}` },
    arrows.map((one) => one.line), places.map((one) => box(one, spots.get(one.id), size, links)), arrows.map((one) => one.chip));
}

function place(name, table) {
  const region = table.slice(0, table.indexOf("/"));
  return { id: `${name} ${region}`, name, region };
}

function spot(n, of, { w, h: height, box: [bw, bh] }, narrow) {
  if (of === 1) return { x: w / 2, y: height / 2 };
  if (of === 2) return narrow ? { x: w / 2, y: n ? height - bh / 2 - 8 : bh / 2 + 8 } : { x: n ? w - bw / 2 - 8 : bw / 2 + 8, y: height / 2 };
  const angle = (2 * Math.PI * n) / of - Math.PI / 2;
  return { x: w / 2 + (w / 2 - bw / 2 - 8) * Math.cos(angle), y: height / 2 + (height / 2 - bh / 2 - 8) * Math.sin(angle) };
}

// A ring of three leaves its box half empty: draw it out to the edges.
function filled(spots, { h: height, box: [, bh] }) {
  const ys = [...spots.values()].map(({ y }) => y);
  const low = Math.min(...ys), high = Math.max(...ys);
  if (high - low < 1) return;
  for (const one of spots.values()) one.y = bh / 2 + 8 + ((one.y - low) / (high - low)) * (height - bh - 16);
}

// Where on its line a label stands: in the middle, or near it where another is there already.
function freeSpot(at, [w, h], taken, { w: width, h: height }) {
  const tried = [0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.5].map((t) => {
    const { x, y } = at(t);
    return { x: Math.min(Math.max(x, w / 2 + 2), width - w / 2 - 2), y: Math.min(Math.max(y, h / 2 + 2), height - h / 2 - 2), w, h };
  });
  const apart = (a, b) => Math.abs(a.x - b.x) >= (a.w + b.w) / 2 + 4 || Math.abs(a.y - b.y) >= (a.h + b.h) / 2 + 4;
  const found = tried.find((one) => taken.every((other) => apart(one, other))) ?? tried.at(-1);
  taken.push(found);
  return found;
}

// Links of one direction between the same places, at most three drawn by themselves.
function bundled(links) {
  const found = new Map();
  for (const one of links) {
    const id = `${one.from.id}>${one.to.id}`;
    found.set(id, [...(found.get(id) ?? []), one]);
  }
  return [...found.values()].flatMap((same) => {
    const both = found.has(`${same[0].to.id}>${same[0].from.id}`);
    if (same.length > 3) return [{ ...same[0], together: same, lane: both ? 0.5 : 0, state: worst(same.map((one) => one.state)), lag_ms: Math.max(...same.map((one) => one.lag_ms ?? 0)), speed: same.reduce((sum, one) => sum + (one.speed ?? 0), 0) }];
    return same.map((one, n) => ({ ...one, lane: both ? n + 0.5 : n - (same.length - 1) / 2 }));
  });
}

function arrow(link, spots, size, taken) {
  const a = spots.get(link.from.id), b = spots.get(link.to.id);
  const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const side = { x: -(b.y - a.y) / length, y: (b.x - a.x) / length };
  const off = 2 * link.lane * size.gap;
  const c = { x: (a.x + b.x) / 2 + side.x * off, y: (a.y + b.y) / 2 + side.y * off };
  const at = (t) => ({ x: (1 - t) ** 2 * a.x + 2 * t * (1 - t) * c.x + t ** 2 * b.x, y: (1 - t) ** 2 * a.y + 2 * t * (1 - t) * c.y + t ** 2 * b.y });
  const outside = (p, o) => Math.abs(p.x - o.x) > size.box[0] / 2 + 4 || Math.abs(p.y - o.y) > size.box[1] / 2 + 4;
  let t0 = 0, t1 = 1;
  while (t0 < 0.5 && !outside(at(t0), a)) t0 += 0.005;
  while (t1 > 0.5 && !outside(at(t1), b)) t1 -= 0.005;
  const p = at(t0), q = at(t1), back = at(t1 - 0.02);
  const bend = { x: (1 - t0) * (1 - t1) * a.x + ((1 - t0) * t1 + t0 * (1 - t1)) * c.x + t0 * t1 * b.x, y: (1 - t0) * (1 - t1) * a.y + ((1 - t0) * t1 + t0 * (1 - t1)) * c.y + t0 * t1 * b.y };
  const d = `M${f(p.x)} ${f(p.y)}Q${f(bend.x)} ${f(bend.y)} ${f(q.x)} ${f(q.y)}`;
  const turn = (Math.atan2(q.y - back.y, q.x - back.x) * 180) / Math.PI;
  const id = `${link.mirror.link}>${link.target}`;
  const dots = link.speed > 0 && link.state !== "paused" && !still.matches ? Math.min(4, 1 + Math.floor(Math.log10(link.speed + 1))) : 0;
  const line = h("g", { key: `line ${id}`, class: `link ${link.state}` },
    h("path", { d, class: "wire" }),
    h("path", { d: "M0 0-11-6V6Z", class: "head", transform: `translate(${f(q.x)} ${f(q.y)}) rotate(${f(turn)})` }),
    Array.from({ length: dots }, (_, n) => h("circle", { key: n, r: 3.5, class: "dot" }, h("animateMotion", { path: d, dur: "2.4s", begin: `${-0.6 * n}s`, repeatCount: "indefinite" }))));
  const [cw, ch] = size.chip;
  const middle = freeSpot(at, size.chip, taken, size);
  const label = link.together ? several(link.together.length, "link") : link.mirror.name;
  const fits = label.length > 14 ? `${label.slice(0, 13)}…` : label;
  const lag = link.lag_ms === null ? STATES[link.state] : `${span(link.lag_ms)} · ${rate(link.speed)}`;
  const chip = h("g", { key: `chip ${id}`, class: `chip ${link.state}`, transform: `translate(${f(middle.x - cw / 2)} ${f(middle.y - ch / 2)})` },
    h("rect", { width: cw, height: ch, rx: 10 }),
    shape(link.state, { x: 9, y: 6, width: 13, height: 13 }),
    h("text", { x: 28, y: 17, class: "name" }, fits),
    h("text", { x: 10, y: 34 }, lag),
    h("title", {}, `${label}: ${link.from.name} to ${link.to.name}, ${STATES[link.state]}, ${lag}`));
  return { line, chip };
}

function box(one, { x, y }, { box: [w, height] }, links) {
  const tables = new Set(links.filter((link) => link.from.id === one.id).map((link) => link.mirror.name));
  const told = one.name === one.region ? (tables.size ? `read by ${several(tables.size, "mirror")}` : "written to") : one.region;
  return h("g", { key: one.id, class: "place", transform: `translate(${f(x - w / 2)} ${f(y - height / 2)})` },
    h("rect", { width: w, height, rx: 14 }),
    h("text", { x: w / 2, y: height / 2 - 3, class: "name" }, one.name),
    h("text", { x: w / 2, y: height / 2 + 16 }, told));
}

const f = (n) => Math.round(n * 10) / 10;
