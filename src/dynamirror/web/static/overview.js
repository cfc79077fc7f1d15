// The first page: what is wrong and what to type, the map, the links, the last minutes.

import { chart, niceNumber, niceTime } from "./chart.js";
import { h } from "./dom.js";
import { map } from "./map.js";
import { at, badge, commands, copied, count, rate, sentence, several, shape, span, STATES } from "./words.js";

const WELL = ["ok", "elsewhere"];

export function overview(state, series, narrow) {
  if (!state.mirrors.length && !state.errors.length) {
    return [h("section", { key: "empty", class: "card" }, h("h2", {}, "Nothing is mirrored yet"),
      h("p", {}, "The configuration was read; its tables are being looked at."))];
  }
  const look = state.mirrors.filter((one) => !WELL.includes(one.state) || one.hint);
  return [
    h("section", { key: "verdict", class: "verdict", "aria-label": "What to do" },
      state.errors.map((one) => unseen(one)), look.map((one) => verdict(one, state.config)),
      !look.length && !state.errors.length && fine(state.mirrors)),
    state.mirrors.length > 0 && h("section", { key: "map", class: "panel" }, h("h2", { class: "unseen" }, "Map"), map(state.mirrors, rates(series), narrow), legend(state.mirrors)),
    state.mirrors.length > 0 && h("section", { key: "links", class: "panel" }, h("h2", {}, "Links"), table(state.mirrors, rates(series))),
    h("section", { key: "charts", class: "panel charts" }, h("h2", { class: "unseen" }, "The last minutes"), charts(state, state.mirrors, series)),
  ].filter(Boolean);
}

// What was applied at a target a second, over the last five: a burst must be seen.
const rates = (series) => (one, link) => {
  const last = (series[`${one.link}->${link.target}`] ?? []).slice(-5).map((sample) => sample[2]).filter((rate) => rate !== null);
  return last.length ? last.reduce((a, b) => a + b) / last.length : null;
};

export const page = (name) => `#/mirror/${encodeURIComponent(name)}`;

function fine(mirrors) {
  const beats = mirrors.flatMap((one) => one.links.map((link) => link.heartbeat_ms)).filter((ms) => ms !== null);
  const links = mirrors.reduce((sum, one) => sum + one.links.length, 0);
  return h("div", { class: "card ok" }, h("h2", {}, shape("ok"), `All ${several(links, "link")} up to date`),
    beats.length > 0 && h("p", {}, `A change made now arrives after about ${span(Math.max(...beats))}.`));
}

function unseen(one) {
  return h("div", { key: `error ${one.mirror}`, class: "card lost" }, h("h2", {}, shape("away"), `${one.mirror} can't be looked at`), h("p", {}, one.error), h("p", {}, sentence(one.hint)));
}

// Which region is behind, by how much, why, how many hours are left, what to type: in this order.
export function verdict(one, config) {
  const late = one.links.filter((link) => link.state === one.state);
  const lag = late.length && late.every((link) => link.lag_ms !== null) ? Math.max(...late.map((link) => link.lag_ms)) : one.lag_ms;
  const targets = (late.length ? late : one.links).map((link) => link.target).join(", ");
  const source = one.links[0]?.source ?? one.source;
  // What is parked for a target that is away waits for nobody's hand.
  const waiting = one.links.reduce((sum, link) => sum + link.waiting_keys, 0);
  const parked = Math.max(0, one.parked_keys - waiting);
  const back = late.length > 0 && late.every((link) => link.waiting_keys);
  const most = one.lag_at_most ? "up to " : "";
  const head = {
    ok: `${targets} is up to date with ${source}`,
    new: `${source} was never followed`,
    elsewhere: `${source} is applied elsewhere`,
    paused: `${targets} is paused, ${most}${span(lag)} behind ${source}`,
    behind: back ? `${targets} is back, and not up to date with ${source} yet` : `${targets} is ${span(lag)} behind ${source}`,
    away: `${targets} is away, ${span(lag)} behind ${source}`,
    stopped: `Nobody reads ${source}: ${targets} is ${most}${span(one.lag_ms)} behind`,
    lost: `${targets} lacks changes of ${source} for good`,
  }[one.state];
  const drift = one.verified ? one.verified.missing + one.verified.extra + one.verified.different : 0;
  const facts = [
    one.why && ["Why", one.why],
    one.hours_left !== null && !["ok", "lost", "new"].includes(one.state) && ["Time left", waiting && one.hours_left >= 23.9 ? "as long as it takes: what it lacks is parked, not only in the stream" : `${one.hours_left} hours, then the stream drops changes that were never applied`],
    parked > 0 && ["Parked", `${several(parked, "key")} to be redriven once the cause is mended`],
    one.unversioned_keys > 0 && ["Unversioned", `${several(one.unversioned_keys, "key")} whose last save raised no version: the replicas differ there`],
    one.changed_views.length > 0 && ["View", `${one.changed_views.join(", ")} holds what another view has made`],
    drift > 0 && ["Drift", `${several(drift, "item")} differed at ${at(one.verified.at_ms)}`],
    one.pauses.some((pause) => pause.lasting && pause.until_ms) && ["Until", one.pauses.filter((pause) => pause.until_ms).map((pause) => at(pause.until_ms)).join(", ")],
    one.hint && ["Do", sentence(one.hint)],
  ].filter(Boolean);
  return h("article", { key: one.link, class: `card ${one.state === "ok" ? "finding" : one.state}` },
    h("h2", {}, shape(one.state), head),
    h("p", { class: "which" }, "Mirror ", h("a", { href: page(one.name) }, one.mirror), one.state === "ok" ? "" : `, ${STATES[one.state]}`),
    h("dl", {}, facts.map(([name, told]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, told)))),
    typed(one, parked, config).map((text) => copied(text)));
}

function typed(one, parked, config) {
  const found = commands(one.hint);
  const redrive = `dynamirror redrive ${config}`;
  return parked && !found.includes(redrive) ? [...found, redrive] : found;
}

function legend(mirrors) {
  const states = [...new Set(mirrors.flatMap((one) => one.links.map((link) => link.state)))];
  return h("p", { class: "states" }, states.map((state) => badge(state)));
}

function table(mirrors, rates) {
  const rows = mirrors.flatMap((one) => one.links.map((link) => [one, link]));
  const head = ["Mirror", "From", "To", "State", "Lag", "Heartbeat", "Changes", "Time left", "Parked"];
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Links" }, h("table", { class: "links" },
    h("thead", {}, h("tr", {}, head.map((name, n) => h("th", { scope: "col", class: n > 3 ? "number" : "" }, name)))),
    h("tbody", {}, rows.map(([one, link]) => h("tr", { key: `${one.link}>${link.target}` },
      h("th", { scope: "row" }, h("a", { href: page(one.name) }, one.name)),
      h("td", { "data-title": "From" }, link.source), h("td", { "data-title": "To" }, link.target), h("td", { "data-title": "State" }, badge(link.state)),
      number("Lag", link.lag_ms === null ? (one.lag_ms === null ? "unknown" : `≤ ${span(one.lag_ms)}`) : span(link.lag_ms)),
      number("Heartbeat", link.heartbeat_ms === null ? "none" : span(link.heartbeat_ms)), number("Changes", rate(rates(one, link))),
      number("Time left", one.hours_left === null ? "unknown" : `${one.hours_left} h`), number("Parked", count(parkedAt(one, link))))))));
}

// What waits for this target, and what is parked for people, of which nobody says here for which.
const parkedAt = (one, link) => link.waiting_keys + Math.max(0, one.parked_keys - one.links.reduce((sum, each) => sum + each.waiting_keys, 0));

const number = (title, text) => h("td", { class: "number", "data-title": title }, text);

export function charts(state, mirrors, series) {
  const lines = (at) => mirrors.flatMap((one) => one.links.map((link) => ({
    name: `${one.name} ${link.source} → ${link.target}`,
    points: (series[`${one.link}->${link.target}`] ?? []).map((sample) => [sample[0], sample[at]]),
  }))).slice(0, 12);
  return [
    chart("Lag", lines(1), state.at_ms, span, niceTime, 2000),
    chart("Changes applied", lines(2), state.at_ms, rate, niceNumber, 4),
  ];
}
