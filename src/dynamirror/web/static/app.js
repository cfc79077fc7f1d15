// What is known, where we are, and what happens next: asked every second, drawn anew each time.

import { h, render } from "./dom.js";
import { confirmed } from "./actions.js";
import { overview } from "./overview.js";
import { mirrorPage } from "./mirror.js";
import { at, badge, several, sentence, span, worst, STATES } from "./words.js";

const ASK_MS = 1000;
const DETAIL_MS = 5000;
const SILENT_MS = 15000;
const KEPT_MS = 15 * 60_000;

const known = { state: null, series: {}, answeredMs: 0, failed: null, details: {}, open: null, token: token() };

function token() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    sessionStorage.setItem("token", found);
    history.replaceState(null, "", "#/");
  }
  return found ?? sessionStorage.getItem("token");
}

async function asked(path, body) {
  const headers = known.token ? { "X-Dynamirror-Token": known.token } : {};
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(SILENT_MS), cache: "no-store" });
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.error), { hint: told.hint, status: answer.status });
  return told;
}

async function ask() {
  try {
    const newest = Math.max(0, ...Object.values(known.series).map((points) => points.at(-1)?.[0] ?? 0));
    const told = await asked(`/api/state?since=${newest}`);
    for (const [name, points] of Object.entries(told.series)) {
      const all = [...(known.series[name] ?? []), ...points];
      known.series[name] = all.filter(([ms]) => ms > told.at_ms - KEPT_MS);
    }
    Object.assign(known, { state: told, answeredMs: Date.now(), failed: null });
  } catch (error) {
    known.failed = error;
  }
  draw();
}

async function detail(path) {
  const one = known.details[path] ?? (known.details[path] = { told: null, error: null, askedMs: 0 });
  if (Date.now() - one.askedMs < DETAIL_MS || known.failed) return;
  one.askedMs = Date.now();
  try {
    Object.assign(one, { told: await asked(path), error: null });
  } catch (error) {
    one.error = error;
  }
  draw();
}

// What only one page shows is asked when that page is drawn, and kept between.
function shown(path) {
  detail(path);
  return known.details[path] ?? { told: null, error: null };
}

async function act(name, body) {
  try {
    const told = await asked(`/api/${name}`, body);
    known.details = {};
    say(told.done);
  } catch (error) {
    say(`Not done: ${error.message}. ${error.hint ?? ""}`);
  }
  await ask();
}

function say(text) {
  known.said = text;
  document.getElementById("said").textContent = text;
  draw();
}

function draw() {
  const { state } = known;
  render(document.getElementById("header"), header(state));
  const page = decodeURIComponent(location.hash.slice(2));
  const tools = { asked, shown, act, known, writes: state?.writes && known.token, ask: (what) => confirmed(document.getElementById("dialog"), what) };
  let children;
  if (!state) children = [known.failed ? silent(known.failed) : h("p", { class: "empty" }, "Looking at the mirrors …")];
  else if (page.startsWith("mirror/")) children = mirrorPage(page.slice(7), state, known.series, tools);
  else children = overview(state, known.series, matchMedia("(max-width: 40rem)").matches);
  render(document.getElementById("main"), [
    known.said && h("p", { key: "said", class: "said" }, known.said, h("button", { type: "button", class: "quiet", onclick: () => say("") }, "Dismiss")),
    state && known.failed && silent(known.failed),
    children,
  ].flat().filter(Boolean));
  document.body.classList.toggle("old", Boolean(state && known.failed));
  const states = state ? state.mirrors.map((one) => one.state) : [];
  document.title = !state || known.failed ? "dynamirror: no answer" : `dynamirror: ${states.length ? STATES[worst(states)] : "nothing yet"}`;
}

function header(state) {
  const live = state && !known.failed;
  return [
    h("h1", {}, h("a", { href: "#/" }, h("img", { src: "/icon.svg", alt: "", width: 28, height: 28 }), "dynamirror")),
    state && h("p", { class: "config" }, h("code", {}, state.config)),
    h("p", { class: `live ${live ? "yes" : "no"}` }, h("span", { class: "light", "aria-hidden": "true" }), live ? "live" : "no answer"),
  ].filter(Boolean);
}

function silent(error) {
  if (error.status === 401) {
    return h("section", { key: "silent", class: "card lost", role: "alert" }, h("h2", {}, "This address needs its token"),
      h("p", {}, "Open the address that ", h("code", {}, "dynamirror run"), " has printed: the token stands at its end."));
  }
  const since = known.answeredMs ? ` for ${span(Date.now() - known.answeredMs)}` : "";
  return h("section", { key: "silent", class: "card lost", role: "alert" },
    h("h2", {}, `dynamirror has not answered${since}`),
    known.answeredMs > 0 && h("p", {}, `What stands below was so at ${at(known.answeredMs)}.`),
    h("p", {}, sentence(`Look whether it still runs where you started it. \`dynamirror status ${known.state?.config ?? "CONFIG"}\` tells from anywhere how the mirrors stand.`)));
}

addEventListener("hashchange", () => {
  draw();
  document.getElementById("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});
addEventListener("resize", draw);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
(async function go() {
  if (!document.hidden) await ask();
  setTimeout(go, ASK_MS);
})();
