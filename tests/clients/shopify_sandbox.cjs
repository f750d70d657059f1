// Shopify's sandbox for custom pixels, as far as a pixel can tell: no document, no window, cookies by promise only.
// Reads {"pixel", "cookies", "init", "steps": [{"event": name, "with": {…}} | {"consent": {…}} | {"break": "cookie"|"fetch"}]}
// from standard input; writes {"requests", "asked", "warnings"}.
const vm = require("node:vm");

async function main() {
  let text = "";
  for await (const chunk of process.stdin) text += chunk;
  const scene = JSON.parse(text);
  const subscribers = {};
  const consented = [];
  const told = { requests: [], asked: [], warnings: [] };
  const broken = new Set();
  const sandbox = {
    init: scene.init,
    analytics: { subscribe: (name, callback) => (subscribers[name] ||= []).push(callback) },
    browser: {
      cookie: {
        get: async (name) => {
          told.asked.push(name);
          if (broken.has("cookie")) throw new Error("the page is gone");
          return scene.cookies[name] || "";
        },
      },
    },
    fetch: async (url, options) => {
      if (broken.has("fetch")) throw new TypeError("Failed to fetch");
      told.requests.push({ url, ...options });
      return { ok: false, status: 0, type: "opaque" };
    },
    console: { warn: (...words) => told.warnings.push(words.map(String).join(" ")) },
  };
  if (scene.api !== false) {
    sandbox.api = {
      customerPrivacy: {
        subscribe: (name, callback) => {
          if (name === "visitorConsentCollected") consented.push(callback);
        },
      },
    };
  }
  vm.runInNewContext(scene.pixel, sandbox, { filename: "shopify-pixel.js" });
  for (const step of scene.steps) {
    if (step.consent) consented.forEach((callback) => callback({ customerPrivacy: step.consent }));
    if (step.break) broken.add(step.break);
    if (step.event) await Promise.all((subscribers[step.event] || []).map((callback) => callback({ name: step.event, ...step.with })));
  }
  told.subscribed = Object.keys(subscribers);
  process.stdout.write(JSON.stringify(told));
}

main();
