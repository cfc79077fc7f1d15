// Lines over the last minutes: each with a colour and a dash of its own.

import { h } from "./dom.js";

const W = 460, H = 150, LEFT = 60, BOTTOM = 22, TOP = 10;
const LINES = 6;
const POINTS = 240;

// lines: [{ name, points: [[at_ms, value or null], ...] }]
export function chart(title, lines, now, tell, nice, least) {
  const from = Math.min(now - 60_000, ...lines.map((one) => one.points[0]?.[0] ?? now));
  const values = lines.flatMap((one) => one.points.map(([, value]) => value ?? 0));
  const top = nice(Math.max(least, ...values));
  const x = (ms) => LEFT + ((ms - from) / (now - from)) * (W - LEFT - 6);
  const y = (value) => H - BOTTOM - (value / top) * (H - BOTTOM - TOP);
  const summary = lines.map((one) => {
    const known = one.points.map(([, value]) => value).filter((value) => value !== null);
    return known.length ? `${one.name}: now ${tell(known.at(-1))}, at most ${tell(Math.max(...known))}` : `${one.name}: unknown`;
  });
  const minutes = Math.round((now - from) / 60_000);
  return h("figure", { class: "chart" },
    h("figcaption", {}, h("strong", {}, title), ` last ${minutes === 1 ? "minute" : `${minutes} minutes`}`),
    h("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}, last ${minutes} minutes. ${summary.join("; ")}` },
      [0, 0.5, 1].map((part) => h("g", { class: "grid" },
        h("line", { x1: LEFT, x2: W - 6, y1: y(top * part), y2: y(top * part) }),
        h("text", { x: LEFT - 8, y: y(top * part) + 4, "text-anchor": "end" }, tell(top * part)))),
      h("text", { x: LEFT, y: H - 5, class: "axis" }, `${minutes} min ago`),
      h("text", { x: W - 6, y: H - 5, class: "axis", "text-anchor": "end" }, "now"),
      lines.map((one, n) => h("path", { key: one.name, class: `line line-${n % LINES}`, d: path(one.points, x, y) }))),
    h("ul", { class: "legend" }, lines.map((one, n) => h("li", { key: one.name },
      h("svg", { viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": "true" }, h("path", { class: `line line-${n % LINES}`, d: "M0 4H24" })),
      one.name, h("span", { class: "figure" }, tell(one.points.findLast(([, value]) => value !== null)?.[1] ?? null))))));
}

function path(points, x, y) {
  const step = Math.max(1, Math.ceil(points.length / POINTS));
  let d = "", pen = "M";
  for (let at = 0; at < points.length; at += step) {
    // Of those drawn as one, the highest: a peak must not vanish.
    const group = points.slice(at, at + step).filter(([, value]) => value !== null);
    if (!group.length) pen = "M";
    else {
      const [ms, value] = group.reduce((a, b) => (b[1] > a[1] ? b : a));
      d += `${pen}${x(ms).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    }
  }
  return d || "M0 0";
}

export function niceNumber(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].find((n) => n * size >= value) * size;
}

export function niceTime(ms) {
  const steps = [2, 4, 10, 20, 60, 120, 240, 600, 1200, 3600].map((s) => s * 1000);
  return steps.find((one) => one >= ms) ?? 2 * 3_600_000 * Math.ceil(ms / (2 * 3_600_000));
}
