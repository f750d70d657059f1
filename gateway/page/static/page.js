// The page: which part is shown, the live feed, log-in, theme. Talks to its own listener only.

import { $, call, write } from "./dom.js";
import * as events from "./events.js";
import { count, showDead } from "./dead.js";
import { showOverview } from "./overview.js";
import { showStory } from "./story.js";

let source = null;
let tab = "events";
let lost = 0;

function route() {
  const [what, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const key = decodeURIComponent(rest.join("/"));
  const story = ["event", "order", "find"].includes(what) && key;
  $("home").hidden = Boolean(story) || !$("login").hidden;
  $("story").hidden = !story || !$("login").hidden;
  if ($("login").hidden === false) return;
  if (story) showStory(what, key);
  else {
    document.title = "Tagway";
    showTab(what === "dead" ? "dead" : "events");
    events.paintNow();
  }
}

function showTab(name) {
  tab = name;
  for (const one of ["events", "dead"]) {
    $(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    $(`tab-${one}`).tabIndex = one === name ? 0 : -1;
    $(one).hidden = one !== name;
  }
  if (name === "dead") showDead();
}

function tabs() {
  const names = ["events", "dead"];
  for (const name of names) {
    $(`tab-${name}`).addEventListener("click", () => (location.hash = name === "dead" ? "#/dead" : "#/"));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = names[1 - names.indexOf(name)];
      $(`tab-${other}`).focus();
      $(`tab-${other}`).click();
    });
  }
}

function live(state, words) {
  $("live").dataset.state = state;
  write($("live"), words);
}

function overview(top) {
  events.setLanes(top.destinations.map((one) => one.destination));
  events.setTry(top.try);
  showOverview(top, (...which) => {
    location.hash = "#/";
    showTab("events");
    events.choose(...which);
  });
  count(top);
  $("logout").hidden = !top.guarded;
}

function receive(message) {
  if (message.type === "all") {
    overview(message.overview);
    events.replaceAll(message.events);
  } else if (message.type === "overview") overview(message.overview);
  else events.add(message);
}

function connect() {
  if (source) source.close();
  source = new EventSource("/stream");
  source.onopen = () => {
    lost = 0;
    live("live", "live");
  };
  source.onmessage = (event) => receive(JSON.parse(event.data));
  source.onerror = async () => {
    live("lost", "not connected, trying again");
    source.close();
    lost += 1;
    const allowed = await fetch("/overview").then((answer) => answer.status !== 401, () => true);
    if (allowed) setTimeout(connect, Math.min(10000, 500 * 2 ** lost));
    else login();
  };
}

function login() {
  if (source) source.close();
  live("lost", "logged out");
  $("login").hidden = false;
  $("logout").hidden = true;
  route();
  $("token").focus();
}

async function tryLogin(event) {
  event.preventDefault();
  write($("login-error"), "");
  try {
    await call("/login", { token: $("token").value });
  } catch (error) {
    write($("login-error"), error.message);
    return;
  }
  $("token").value = "";
  $("login").hidden = true;
  route();
  connect();
}

function theme() {
  const stored = localStorage.getItem("tagway-theme");
  if (stored) document.documentElement.dataset.theme = stored;
  $("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("tagway-theme", document.documentElement.dataset.theme);
  });
}

async function start() {
  theme();
  tabs();
  events.start();
  window.addEventListener("hashchange", route);
  window.addEventListener("tagway-login", login);
  $("login-form").addEventListener("submit", tryLogin);
  $("logout").addEventListener("click", () => call("/logout", {}).then(login));
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = $("find-input").value.trim();
    if (wanted) location.hash = `#/find/${encodeURIComponent(wanted)}`;
  });
  const answer = await fetch("/overview").catch(() => null);
  if (answer && answer.status === 401) {
    login();
    return;
  }
  route();
  connect();
  setInterval(() => tab === "dead" && $("home").hidden === false && !document.hidden && !document.activeElement?.closest("#dead") && showDead(), 10000);
}

start();
