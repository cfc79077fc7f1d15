// Conflicts: the newest, and of one that is opened both images side by side.

import { h } from "./dom.js";
import { at, copied, key, several, value } from "./words.js";

const REASONS = {
  overwritten: "another write won",
  deleted: "a delete won",
  unversioned: "written without a version",
};

export function conflictList(one, tools) {
  const { told, error } = tools.shown(`/api/conflicts?link=${encodeURIComponent(one.link)}`);
  if (error) return h("p", { class: "bad" }, error.message);
  if (!told) return h("p", {}, "Looking …");
  if (!told.rows.length) return h("p", {}, "No write has lost a conflict.");
  const open = tools.known.open;
  return [h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Conflicts" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Item", "When", "Why", "Lost", "Won", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "Images"))))),
    h("tbody", {}, told.rows.map((row) => h("tr", { key: row.id, class: row.id === open ? "chosen" : "" },
      h("th", { scope: "row", class: "mono" }, key(row.key)), h("td", {}, at(row.at_ms)), h("td", {}, REASONS[row.reason] ?? row.reason),
      h("td", {}, rank(row.loser)), h("td", {}, rank(row.winner)),
      h("td", {}, h("button", { type: "button", "aria-expanded": String(row.id === open), onclick: () => choose(row.id, tools) }, row.id === open ? "Close" : "Compare"))))))),
    told.more && h("p", {}, "Only the newest are shown: ", copied(`dynamirror conflicts ${tools.known.state.config}`)),
    open && told.rows.some((row) => row.id === open) && images(one, open, tools)];
}

const rank = ({ version, origin }) => `version ${version} of ${origin}`;

function choose(id, tools) {
  tools.known.open = tools.known.open === id ? null : id;
  dispatchEvent(new Event("resize"));
}

function images(one, id, tools) {
  const { told, error } = tools.shown(`/api/conflict?link=${encodeURIComponent(one.link)}&id=${encodeURIComponent(id)}`);
  if (error) return h("p", { key: id, class: "bad" }, error.message);
  if (!told) return h("p", { key: id }, "Looking …");
  const { conflict, now, stamp } = told;
  const { loser, winner } = conflict.images;
  const names = [...new Set([loser, winner, now].flatMap((image) => Object.keys(image ?? {})))].sort((a, b) => (a === stamp) - (b === stamp) || (a < b ? -1 : 1));
  const differs = (name) => name !== stamp && new Set([loser, winner].map((image) => JSON.stringify(sorted((image ?? {})[name])))).size > 1;
  const sides = [["Lost", loser], ["Won", winner], [`At ${conflict.replica} now`, now]];
  return h("section", { key: id, class: "images", "aria-label": `Images of ${key(conflict.key)}` },
    h("h4", { class: "mono" }, key(conflict.key)),
    !winner && h("p", {}, "A delete won: there is no winning image."),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Both images" }, h("table", { class: "compare" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Attribute"), sides.map(([title]) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, names.map((name) => h("tr", { key: name, class: differs(name) ? "differs" : "" },
        h("th", { scope: "row", class: "mono" }, name, differs(name) && h("span", { class: "mark" }, "differs"), name === stamp && h("span", { class: "own" }, "dynamirror's stamp")),
        sides.map(([title, image]) => cell(title, image, name))))))),
    tools.writes ? h("button", { type: "button", onclick: () => restore(one, told, tools) }, "Restore what lost")
      : h("p", {}, "To bring back what lost: ", copied(`dynamirror conflicts restore ${tools.known.state.config} ${id}`)));
}

function cell(title, image, name) {
  const text = image && name in image ? value(image[name]) : null;
  return h("td", { "data-title": title, class: text === null ? "none" : "mono" }, text ?? "none");
}

const sorted = (wire) => (wire && typeof wire === "object" && !Array.isArray(wire) ? Object.fromEntries(Object.keys(wire).sort().map((name) => [name, sorted(wire[name])])) : wire);

async function restore(one, { conflict }, tools) {
  const yes = await tools.ask({
    title: "Restore what lost?", yes: "Restore",
    told: [h("p", {}, `The image that lost is saved at ${conflict.replica} as a new version of ${key(conflict.key)}, if the item is still as it is shown, and mirrored from there.`), h("p", {}, `What is there now is gone then: ${several(1, "item")}, without another entry in the journal.`)],
  });
  if (yes !== null) await tools.act("restore", { link: one.link, conflict: conflict.id });
}
