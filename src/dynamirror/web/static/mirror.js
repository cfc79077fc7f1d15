// One mirror: its links, shards, parked keys, conflicts, backfill and verify, configuration.

import { conflictList } from "./conflicts.js";
import { h } from "./dom.js";
import { charts, verdict } from "./overview.js";
import { at, badge, copied, count, key, rate, sentence, several, span } from "./words.js";

const SHARDS_MAX = 200;

export function mirrorPage(name, state, series, tools) {
  const sides = state.mirrors.filter((one) => one.name === name);
  if (!sides.length) {
    return [h("section", { key: "none", class: "card" }, h("h2", {}, `There is no mirror ${name}`), h("p", {}, h("a", { href: "#/" }, "All mirrors")))];
  }
  return [
    h("nav", { key: "nav", class: "crumbs", "aria-label": "Where you are" }, h("a", { href: "#/" }, "All mirrors"), h("span", { "aria-hidden": "true" }, " / "), h("span", { "aria-current": "page" }, name)),
    h("h2", { key: "title", class: "title" }, name, h("span", { class: "kind" }, sides[0].two_way ? "two-way" : "one-way")),
    h("section", { key: "verdict", class: "verdict", "aria-label": "What to do" }, sides.filter((one) => one.state !== "ok" || one.hint).map((one) => verdict(one, state.config))),
    h("section", { key: "charts", class: "panel charts" }, h("h3", { class: "unseen" }, "The last minutes"), charts(state, sides, series)),
    sides.map((one) => side(one, tools)),
    sides[0].two_way && h("section", { key: "conflicts", class: "panel" }, h("h3", {}, "Conflicts"), conflictList(sides[0], tools)),
    configuration(sides[0], tools),
  ].flat().filter(Boolean);
}

function side(one, tools) {
  const { told, error } = tools.shown(`/api/link?link=${encodeURIComponent(one.link)}`);
  return h("section", { key: one.link, class: "panel" },
    h("div", { class: "row" }, h("h3", {}, `From ${one.source}`), badge(one.state), switched(one, null, tools)),
    h("dl", { class: "facts" }, facts(one).map(([name, text]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, text)))),
    one.links.map((link) => [
      one.links.length > 1 && h("div", { key: `to ${link.target}`, class: "row" }, h("h4", {}, `To ${link.target}`), badge(link.state), switched(one, link.target, tools)),
      h("dl", { key: link.target, class: "facts" }, linkFacts(link).map(([name, text]) => h("div", { key: name, class: name === "Trying again" ? "across" : "" }, h("dt", {}, name), h("dd", {}, text)))),
    ]).flat().filter(Boolean),
    progress(one),
    error && h("p", { class: "bad" }, error.message),
    told && h("details", { open: true }, h("summary", {}, `Shards: ${one.shards_open} open, ${told.status.positions.length} known`), shards(told.status)),
    parked(one, tools));
}

const facts = (one) => [
  ["Lag", one.lag_ms === null ? "unknown" : (one.lag_at_most ? "at most " : "") + span(one.lag_ms)],
  ["Time left", one.hours_left === null ? "unknown" : `${one.hours_left} h`],
  ["Changes applied", rate(one.per_second)],
  ["Write limit", one.limit_per_second === null ? "none" : `${one.limit_per_second}/s`],
  one.conflicts !== null && ["Conflicts since start", count(one.conflicts)],
  ["Read by", one.held_by ? one.held_by.split(" (")[0] : "nobody"],
].filter(Boolean);

const linkFacts = (link) => [
  ["To", link.table], ["Lag", span(link.lag_ms)], ["Heartbeat", span(link.heartbeat_ms)], ["Applied", count(link.applied)],
  ["In flight", count(link.in_flight)], ["Retries", count(link.retries)], ["Throttles", count(link.throttles)], ["Late or twice", count(link.stale)],
  link.waiting_keys > 0 && ["Waiting for it", several(link.waiting_keys, "key")],
  link.away_since_ms !== null && ["Away since", at(link.away_since_ms)],
  link.paused_since_ms !== null && ["Paused since", at(link.paused_since_ms)],
  link.trouble && ["Trying again", link.trouble],
].filter(Boolean);

function progress({ backfill, verified }) {
  const drift = verified ? verified.missing + verified.extra + verified.different : 0;
  return h("dl", { class: "facts" },
    h("div", {}, h("dt", {}, "Backfill"), h("dd", {},
      !backfill ? "none yet" : backfill.finished_ms ? `${several(backfill.items, "item")} copied, ended ${at(backfill.finished_ms)}`
        : [h("progress", { max: Math.max(backfill.expected_items, backfill.items) || 1, value: backfill.items, "aria-label": "Backfill" }), ` ${count(backfill.items)} of about ${count(Math.max(backfill.expected_items, backfill.items))} items`])),
    h("div", {}, h("dt", {}, "Verify"), h("dd", { class: drift ? "bad" : "" },
      !verified ? "none yet" : drift ? `${count(verified.missing)} missing, ${count(verified.extra)} extra, ${count(verified.different)} different of ${count(verified.items)} items, ${at(verified.at_ms)}`
        : `equal: ${several(verified.items, "item")}, ${at(verified.at_ms)}`)));
}

// Children stand below their parents, indented.
function shards(status) {
  const all = new Map(status.positions.map((one) => [one.shard, one]));
  const depth = (one) => (one.parent && all.has(one.parent) ? depth(all.get(one.parent)) + 1 : 0);
  const lags = new Map((status.report?.shards ?? []).map((one) => [one.shard, one]));
  const rows = [];
  const walk = (one) => {
    rows.push(one);
    status.positions.filter((child) => child.parent === one.shard).forEach(walk);
  };
  status.positions.filter((one) => !one.parent || !all.has(one.parent)).forEach(walk);
  const head = ["Shard", "State", "Lag", "Applied up to"];
  return [h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Shards of ${status.source}` }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.slice(-SHARDS_MAX).map((one) => h("tr", { key: one.shard },
      h("th", { scope: "row", title: one.shard, class: "mono" }, `${"\u00a0\u00a0".repeat(depth(one))}${depth(one) ? "└ " : ""}…${one.shard.slice(-14)}`),
      h("td", {}, one.done ? "read to its end" : one.read_until_ms === null ? "not begun" : one.closed ? "closed, being read" : "open"),
      h("td", {}, one.done ? "" : span(lags.get(one.shard)?.lag_ms ?? (status.report ? 0 : null))),
      h("td", { class: "mono" }, one.sequence_number ?? "nothing yet")))))),
    rows.length > SHARDS_MAX && h("p", {}, `The last ${SHARDS_MAX} are shown.`)];
}

function parked(one, tools) {
  if (!one.parked_keys) return null;
  const { told, error } = tools.shown(`/api/parked?link=${encodeURIComponent(one.link)}`);
  return h("details", { open: true }, h("summary", {}, `Parked: ${several(one.parked_keys, "key")}`),
    error && h("p", { class: "bad" }, error.message),
    told && h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Parked keys of ${one.source}` }, h("table", {},
      h("thead", {}, h("tr", {}, ["Key", "Target", "Changes", "Since", "Why"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, told.rows.map((row) => h("tr", { key: `${row.target} ${key(row.key)}` },
        h("th", { scope: "row", class: "mono" }, key(row.key)), h("td", {}, row.target), h("td", {}, count(row.changes)), h("td", {}, at(row.parked_at)), h("td", {}, row.error)))))),
    told?.more && h("p", {}, "There are more."),
    tools.writes ? h("button", { type: "button", onclick: () => redrive(one, tools) }, "Redrive")
      : h("p", {}, "Mend the cause, then ", copied(`dynamirror redrive ${tools.known.state.config}`)));
}

function configuration(one, tools) {
  const { told } = tools.shown(`/api/link?link=${encodeURIComponent(one.link)}`);
  return told && h("details", { key: "configuration", class: "panel" }, h("summary", {}, "Configuration in force"),
    h("dl", { class: "facts wide" }, Object.entries(told.configuration).map(([name, value]) => h("div", { key: name }, h("dt", {}, name), h("dd", { class: "mono" }, typeof value === "string" ? value : JSON.stringify(value))))));
}

// Pauses all links from a source, or, of several, the one to a target; or resumes them.
function switched(one, target, tools) {
  if (!tools.writes) return null;
  const paused = one.pauses.some((pause) => pause.lasting && pause.target === target);
  const name = target ? { "aria-label": `${paused ? "Resume" : "Pause"} ${target} alone` } : {};
  return h("span", { class: "buttons" }, h("button", { type: "button", ...name, onclick: () => (paused ? tools.act("resume", { link: one.link, target }) : pause(one, target, tools)) }, paused ? "Resume" : "Pause"));
}

async function pause(one, target, tools) {
  const why = await tools.ask({
    title: `Pause ${one.link}${target ? ` to ${target}` : ""}?`, field: "Why (everybody sees it)", yes: "Pause",
    told: [h("p", {}, target ? `What is for ${target} is parked until it is resumed; the other targets go on.`
      : `Nothing of ${one.source} is applied to ${one.targets.join(", ")} until it is resumed. The stream keeps changes for 24 hours.`)],
  });
  if (why !== null) await tools.act("pause", { link: one.link, target, why });
}

async function redrive(one, tools) {
  const yes = await tools.ask({ title: `Redrive ${several(one.parked_keys, "key")}?`, yes: "Redrive", told: [h("p", {}, "Each parked key gets the source's present item, and its changes pass again. Mend the cause first.")] });
  if (yes !== null) await tools.act("redrive", { link: one.link });
}
