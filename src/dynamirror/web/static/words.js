// What figures and states are called, and how they look: each state has a colour and a shape.

import { h } from "./dom.js";

export const STATES = {
  ok: "up to date",
  new: "not started",
  elsewhere: "applied elsewhere",
  paused: "paused",
  behind: "behind",
  away: "away",
  stopped: "stopped",
  lost: "history lost",
};
const GRAVITY = Object.keys(STATES);

export const worst = (states) => states.reduce((a, b) => (GRAVITY.indexOf(a) >= GRAVITY.indexOf(b) ? a : b), "ok");

// Drawn within a square of 16.
const SHAPES = {
  ok: [["circle", { cx: 8, cy: 8, r: 6 }]],
  new: [["circle", { cx: 8, cy: 8, r: 5, class: "hollow" }]],
  elsewhere: [["path", { d: "M8 2 14 8 8 14 2 8Z", class: "hollow" }]],
  paused: [["path", { d: "M3 2h4v12H3zM9 2h4v12H9z" }]],
  behind: [["path", { d: "M8 1.5 15 14H1Z" }]],
  away: [["path", { d: "M8 1 15 8 8 15 1 8Z" }]],
  stopped: [["path", { d: "M2.5 2.5h11v11h-11z" }]],
  lost: [["path", { d: "M2 4.4 4.4 2 8 5.6 11.6 2 14 4.4 10.4 8 14 11.6 11.6 14 8 10.4 4.4 14 2 11.6 5.6 8Z" }]],
};

export const shape = (state, at = {}) =>
  h("svg", { viewBox: "0 0 16 16", width: 16, height: 16, class: `shape ${state}`, "aria-hidden": "true", ...at },
    SHAPES[state].map(([tag, attrs]) => h(tag, attrs)));

export const badge = (state) => h("span", { class: `badge ${state}` }, shape(state), STATES[state]);

export function span(ms) {
  if (ms === null || ms === undefined) return "unknown";
  if (ms === 0) return "0 s";
  if (ms < 100) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s >= 7200) return `${(s / 3600).toFixed(1)} h`;
  if (s >= 120) return `${(s / 60).toFixed(1)} min`;
  return s >= 10 ? `${Math.round(s)} s` : `${s.toFixed(1)} s`;
}

export const count = (n) => (n ?? 0).toLocaleString("en-US");
export const rate = (n) => (n === null || n === undefined ? "unknown" : `${n >= 10 ? count(Math.round(n)) : n.toFixed(n ? 1 : 0)}/s`);
export const at = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";
export const several = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

// A sentence in which what stands in backticks is to be typed.
export const sentence = (text) =>
  text.split("`").map((part, n) => (n % 2 ? h("code", {}, part) : part));

export const commands = (text) => (text ?? "").split("`").filter((_, n) => n % 2);

// A value of an item, from DynamoDB's JSON.
export function value(wire) {
  if (wire === undefined) return null;
  const [[kind, body]] = Object.entries(wire);
  if (kind === "S") return JSON.stringify(body);
  if (kind === "N") return body;
  if (kind === "BOOL") return String(body);
  if (kind === "NULL") return "null";
  if (kind === "L") return `[${body.map(value).join(", ")}]`;
  if (kind === "M") return `{${Object.entries(body).map(([name, one]) => `${JSON.stringify(name)}: ${value(one)}`).join(", ")}}`;
  return `${kind} ${JSON.stringify(body)}`;
}

export const key = (wire) => Object.entries(wire).map(([name, one]) => `${name} = ${value(one)}`).join(", ");

export const copied = (text) =>
  h("span", { class: "typed" },
    h("code", {}, text),
    h("button", { type: "button", class: "quiet", "aria-label": `Copy: ${text}`, onclick: (event) => copy(event, text) }, "Copy"));

function copy(event, text) {
  const button = event.currentTarget;
  const done = (told) => {
    button.textContent = told;
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => done("Copied"), () => done("Select it"));
  else done("Select it");
}
