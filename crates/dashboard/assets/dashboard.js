// The dashboard's one script: without it every page can be read; with it pages are
// kept up to date. What changes has data-live and an id; it is fetched anew with the
// page and put in place. One task is followed by its stream of events.
"use strict";

const root = document.documentElement;
const store = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* not kept, then */ } },
};

// Before anything is painted.
if (["light", "dark"].includes(store.get("theme"))) root.dataset.theme = store.get("theme");

const EVERY = 2500;
let live = store.get("live") !== "no";
let appended = false;
let events = null;
let polling = null;

document.addEventListener("DOMContentLoaded", () => {
  theme();
  forms();
  choosing();
  if (document.body.hasAttribute("data-live-page")) {
    liveButton();
    follow();
    polling = setInterval(look, EVERY);
    document.addEventListener("visibilitychange", look);
  }
  further();
});

function look() {
  if (polling && live && !document.hidden && !appended) refresh();
}

/* What is over does not change any more. */
function hold() {
  clearInterval(polling);
  polling = null;
  document.getElementById("live").hidden = true;
}

/* Whether the server answers: nothing is live while it does not. */
function answers(yes) {
  document.getElementById("stale").hidden = yes;
  const button = document.getElementById("live");
  if (!button) return;
  button.classList.toggle("down", !yes);
  button.querySelector(".word").textContent = yes ? "Live" : "Offline";
}

function theme() {
  const button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const say = () => { button.textContent = dark() ? "Light" : "Dark"; button.title = dark() ? "Use light colours" : "Use dark colours"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    store.set("theme", root.dataset.theme);
    say();
  });
  say();
}

function liveButton() {
  const button = document.getElementById("live");
  button.hidden = false;
  const say = () => button.setAttribute("aria-pressed", String(live));
  button.addEventListener("click", () => {
    live = !live;
    store.set("live", live ? "yes" : "no");
    say();
    if (live) { refresh(); follow(); } else if (events) { events.close(); events = null; }
  });
  say();
}

/* Filters without empty fields make short addresses. */
function forms() {
  for (const form of document.querySelectorAll("form[data-filter]")) {
    form.addEventListener("submit", () => {
      for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
    });
    // Coming back finds the form as it was.
    addEventListener("pageshow", () => { for (const field of form.elements) field.disabled = false; });
    for (const field of form.querySelectorAll("select, input[type=checkbox]")) {
      field.addEventListener("change", () => form.requestSubmit());
    }
  }
}

function choosing() {
  const all = document.querySelector("[data-all]");
  if (!all) return;
  const boxes = () => [...document.querySelectorAll("input[name=id]")];
  const words = document.querySelector("[data-chosen]");
  const say = () => {
    const chosen = boxes().filter((box) => box.checked).length;
    words.textContent = chosen ? `${chosen} selected` : "Select all shown";
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
  };
  all.hidden = false;
  all.addEventListener("change", () => { boxes().forEach((box) => { box.checked = all.checked; }); say(); });
  document.addEventListener("change", (event) => { if (event.target.name === "id") say(); });
  document.addEventListener("refreshed", say);
  say();
}

let fetching = false;
async function refresh() {
  if (fetching) return;
  fetching = true;
  try {
    const response = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html", "Longhaul-Refresh": "1" } });
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    put(page);
    answers(true);
    if (!page.body.hasAttribute("data-live-page")) hold();
  } catch {
    answers(false);
  } finally {
    fetching = false;
  }
}

/* Puts what changed in place, and leaves ticks, focus and scrolling as they were. */
function put(page) {
  for (const now of document.querySelectorAll("[data-live]")) {
    const next = page.getElementById(now.id);
    if (!next || now.isEqualNode(next)) continue;
    const chosen = new Set([...now.querySelectorAll("input[name=id]:checked")].map((box) => box.value));
    const focus = now.contains(document.activeElement) ? document.activeElement : null;
    const place = focus && [focus.tagName, focus.getAttribute("href"), focus.getAttribute("value"), focus.textContent].join();
    now.replaceWith(next);
    for (const box of next.querySelectorAll("input[name=id]")) box.checked = chosen.has(box.value);
    if (place) {
      const same = [...next.querySelectorAll(focus.tagName)].find((one) =>
        [one.tagName, one.getAttribute("href"), one.getAttribute("value"), one.textContent].join() === place);
      if (same) same.focus({ preventScroll: true });
    }
  }
  document.dispatchEvent(new Event("refreshed"));
}

/* A page that was not filled in its time: look further back, until it is. */
async function further() {
  const rows = () => document.querySelectorAll("#list tbody tr").length;
  for (let link; (link = document.querySelector("[data-further]")) && rows() < 50 && !document.hidden;) {
    appended = true;
    const response = await fetch(link.href, { cache: "no-store", headers: { Accept: "text/html" } }).catch(() => null);
    if (!response || !response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.querySelectorAll("#list tbody tr");
    if (found.length && !rows()) {
      document.querySelector("#list .empty").replaceWith(page.querySelector("#list .scroll"));
    } else {
      document.querySelector("#list tbody")?.append(...found);
    }
    const pages = page.querySelector("[data-pages]");
    document.querySelector("[data-pages]").replaceWith(pages);
    if (!rows() && !pages.querySelector("[data-further]")) {
      document.querySelector("#list .empty .heading").textContent = "No matching tasks";
      document.querySelector("#list .empty .soft").textContent = "Every task has been searched.";
    }
  }
}

/* One task, by its stream of events. */
function follow() {
  const task = document.querySelector("[data-events]");
  if (!task || !live || events) return;
  const log = document.getElementById("log");
  events = new EventSource(task.dataset.events);
  events.onmessage = ({ data }) => {
    const body = JSON.parse(data);
    show(body);
    if (body.Complete) { events.close(); refresh(); }
  };
  // The browser connects again by itself; meanwhile the page tells whether the server answers.
  events.onerror = look;
  events.addEventListener("log", ({ data }) => {
    const line = JSON.parse(data);
    if (!log || line.Number <= Number(log.dataset.last)) return;
    log.dataset.last = line.Number;
    const bottom = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    const item = element("li", `line-${line.Level.toLowerCase()}`);
    const time = element("time", "", line.At.slice(11, 23));
    time.dateTime = line.At;
    item.append(time, element("span", "level", line.Level), element("span", "text", line.Line));
    log.append(item);
    while (log.children.length > 1000) log.firstChild.remove();
    if (bottom) log.scrollTop = log.scrollHeight;
  });
  if (log) log.scrollTop = log.scrollHeight;
}

function show(body) {
  const by = (id) => document.getElementById(id);
  const text = (id, words) => { const at = by(id); if (at && at.textContent !== words) at.textContent = words; };
  const state = body.State.toLowerCase();
  const bar = by("bar");
  const fraction = body.ProgressInPercent;
  bar.value = Math.max(fraction, 0);
  bar.className = `bar bar-${state}`;
  text("percent", `${Math.floor(fraction * 100)} %`);
  // How it ended is told by the page.
  if (!body.Complete) text("message", body.Message ?? "–");
  // What held it in another state does so no more; the next fetch has what holds it now.
  const reasons = by("reasons");
  if (reasons && reasons.dataset.state !== body.State) reasons.replaceChildren();
  const count = (number) => number.toLocaleString("en");
  text("elements", body.TotalElements ? `${count(body.ProcessedElements)} of ${count(body.TotalElements)} elements` : "");
  const left = body.TimeLeft;
  text("left", left ? `about ${span(left.Seconds)} left (${span(left.Low)} to ${span(left.High)})` : "");
  by("state").replaceChildren(element("span", `state state-${state}`, body.State));
  by("steps").replaceChildren(...(body.Steps ?? []).map((step) => {
    const item = element("li");
    const bar = element("progress", "bar bar-running");
    bar.max = 1;
    bar.value = step.Fraction;
    bar.setAttribute("aria-label", `Step ${step.Name}`);
    item.append(element("span", "name", step.Name), bar, element("span", "percent", `${Math.floor(step.Fraction * 100)} %`));
    return item;
  }));
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
}
