"use strict";
// Whatever comes from the server or the user enters the page as text, never as markup.
const byId = (id) => document.getElementById(id);
let key = "";
let models = [];

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(key ? { Authorization: "Bearer " + key } : {}) };
  const response = await fetch(path, { ...options, headers });
  const content = await response.json();
  if (!response.ok) throw Object.assign(new Error(content.detail), { status: response.status });
  return { content, headers: response.headers };
}

function add(parent, tag, text, className) {
  const node = parent.appendChild(document.createElement(tag));
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

const percent = (value) => (100 * value).toFixed(1);

function showVariants(section, variants) {
  const box = add(section, "div", undefined, "scroll");
  const table = add(box, "table");
  const head = add(add(table, "thead"), "tr");
  const titles = ["Variant", "Metric", "Value, %", "95 % interval", "Size, MB", "p50, ms"];
  titles.forEach((title, i) => add(head, "th", title, i > 1 ? "number" : ""));
  const body = add(table, "tbody");
  for (const one of variants) {
    const row = add(body, "tr");
    const primary = one.manifest.measured.primary;
    const bucket = one.profile && (one.profile.buckets.find((b) => b.tokens >= 64) || one.profile.buckets.at(-1));
    add(row, "td", one.variant + (one.default ? " (default)" : ""));
    add(row, "td", primary.name);
    add(row, "td", percent(primary.value), "number");
    add(row, "td", primary.ci95.map(percent).join(" – "), "number");
    add(row, "td", (one.file_bytes / 1e6).toFixed(2), "number");
    add(row, "td", bucket ? `${bucket.p50_ms.toFixed(2)} at ${bucket.tokens} tokens` : "not profiled", "number");
  }
}

async function showModel(model) {
  const section = add(byId("models"), "section");
  add(section, "h2", model.model);
  const inputs = model.pair ? "pairs of texts" : "single texts";
  add(section, "p", `${model.problem || "no usable variant"}, ${inputs}: ${model.labels.join(", ")}`, "note");
  const path = "v1/models/" + encodeURIComponent(model.model) + "/variants";
  showVariants(section, (await ask(path)).content.variants);
  for (const one of model.refused) add(section, "p", `Refused: ${one.reason}`, "note");
}

function fill(select, names) {
  select.replaceChildren();
  for (const [value, text] of names) add(select, "option", text).value = value;
}

function chooseModel() {
  const model = models.find((one) => one.model === byId("model").value);
  fill(byId("variant"), [["", "the default"], ...model.variants.map((name) => [name, name])]);
  byId("pair").hidden = !model.pair;
}

async function load() {
  try {
    models = (await ask("v1/models")).content.models;
    byId("models").replaceChildren();
    for (const model of models) await showModel(model);
    byId("unlock").hidden = true;
    byId("state").textContent = models.length ? "" : "Nothing is served yet.";
    byId("classify").hidden = !models.length;
    fill(byId("model"), models.map((one) => [one.model, one.model]));
    if (models.length) chooseModel();
  } catch (error) {
    byId("unlock").hidden = error.status !== 401;
    byId("state").textContent = error.message;
  }
}

async function classify(event) {
  event.preventDefault();
  const answer = byId("answer");
  const variant = byId("variant").value;
  const text = byId("text").value;
  const inputs = byId("pair").hidden ? text : { text, text_pair: byId("second").value };
  answer.textContent = "…";
  try {
    const { content, headers } = await ask("v1/classify", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(variant ? { "X-Variant": variant } : {}) },
      body: JSON.stringify({ inputs, model: byId("model").value }),
    });
    answer.replaceChildren();
    for (const one of content.results[0].labels) {
      const line = add(answer, "div");
      add(line, "meter").value = one.score;
      add(line, "span", `${one.label} ${one.score.toFixed(4)}${one.selected ? " (selected)" : ""}`);
    }
    add(answer, "div", `${content.variant}, ${content.route.reason}; ${headers.get("Server-Timing")}`, "note");
  } catch (error) {
    answer.textContent = error.message;
  }
}

byId("model").addEventListener("change", chooseModel);
byId("classify").addEventListener("submit", classify);
byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  key = byId("key").value;
  load();
});
load();
