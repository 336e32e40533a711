"use strict";
/* The page: draws the model when it has changed, and tells the sidecar what a person wants. */

(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const SHAPES = ["·", "●", "▲", "✗"];
  const SIGNS = { green: "●", amber: "▲", red: "✗", unsure: "≈", "not covered": "–" };
  const shaped = (colour) => make("span", `${SHAPES[colour]} `, { class: "shape", "aria-hidden": "true" });

  const model = new Seism.Model();
  const view = new Seism.View(model);
  const filter = () => ({ text: $("filter").value.trim().toLowerCase(), bad: $("bad").checked });
  const timeline = new Seism.Timeline($("canvas"), view, filter);
  const charts = new Seism.Charts($("charts"), view, timeline.gutter);
  // shown: what the side shows, {state: () => a value that changes with it, draw}
  const page = { model, view, timeline, chosen: null, shown: null, chaos: false, undone: "" };
  Seism.page = page;

  // Time: what the records say it is, going on between them.
  let offset = null;
  const now = () => (offset === null ? 0 : performance.now() / 1000 + offset);
  const hear = (kind, record) => {
    if (kind === "missed") {
      model.missing(record);
      return;
    }
    model.add(kind, record);
    const lead = model.last - performance.now() / 1000;
    if (Number.isFinite(lead) && (offset === null || lead > offset)) offset = lead;
  };

  // Drawing: the lanes each frame that needs it, what takes longer a few times a second.
  let drawn = -1, slow = -1, slowAt = 0, moved = true;
  const touch = () => { moved = true; };
  const frame = (at) => {
    view.follow(now());
    const changed = model.version !== drawn;
    if (moved || changed || (view.live && offset !== null)) {
      timeline.chosen = page.chosen;
      timeline.draw();
      $("span").textContent = `${Seism.short(view.span)} s${view.live ? ", live" : ""}`;
      drawn = model.version;
    }
    if (at - slowAt > 250 && (moved || model.version !== slow || (view.live && offset !== null))) {
      slowAt = at;
      moved = false;
      // A task of its own, so that none is long.
      setTimeout(() => {
        charts.draw();
        if (model.version !== slow) tables();
        slow = model.version;
      });
    }
    requestAnimationFrame(frame);
  };

  const tables = () => {
    const [, green, amber, red] = model.counts;
    const values = $("counts").querySelectorAll("b");
    [green, amber, red, model.active.size].forEach((count, i) => { values[i].textContent = String(count); });
    const colour = red ? "red" : amber ? "amber" : green ? "green" : "";
    const words = {
      red: `✗ does not survive: ${red} red`, amber: `▲ survives, with ${amber} amber`,
      green: "● survives", "": "waiting for requests",
    };
    const verdict = $("verdict");
    const word = model.verdict ? `${SIGNS[model.verdict.colour] || "·"} ${model.verdict.headline}` : words[colour];
    if (verdict.textContent.trim() !== word) verdict.firstElementChild.textContent = word;
    verdict.dataset.colour = model.verdict ? model.verdict.colour : colour;
    note();
    matrix();
    tried();
    list();
    if (page.shown && page.shown.state() !== page.shown.was) page.shown.draw();
  };

  /* What is not shown is said, and where it is. */
  const note = () => {
    const number = (count) => count.toLocaleString("en");
    const parts = [page.undone];
    if (model.earlier) parts.push(`${number(model.earlier)} earlier requests are in the journal`);
    if (model.forgotten) parts.push(`the oldest ${number(model.forgotten)} requests are counted, and in the journal, but not shown`);
    if (model.missed) parts.push(`${number(model.missed)} records were missed`);
    if (model.run) parts.push("the sidecar was started anew: what it did not tell before is in its journal");
    const text = parts.filter(Boolean).join("; ");
    if ($("note").textContent !== text) $("note").textContent = text;
  };

  /* The verdict's own table, of a run that is over: a button for each cell, its reasons in words. */
  const tried = () => {
    $("verdicts").hidden = !model.cells.length;
    if (!model.cells.length || $("tried").firstChild) return;
    const { columns, rows } = model.tried();
    const table = make("table"), head = make("tr");
    head.append(make("th", "route", { scope: "col" }), ...columns.map((c) => make("th", c, { scope: "col" })));
    table.append(head);
    for (const [route, cells] of rows) {
      const line = make("tr");
      line.append(make("th", route, { scope: "row" }));
      for (const column of columns) {
        const td = make("td");
        for (const cell of cells.get(column) || []) td.append(cellButton(cell));
        line.append(td);
      }
      table.append(line);
    }
    $("tried").replaceChildren(table);
  };

  const cellButton = (cell) => {
    const button = make("button", undefined, {
      type: "button", class: `cell ${cell.colour.replace(" ", "-")}`, "data-cell": cell.perturbation,
      title: cell.reasons.join("; ") || cell.colour,
    });
    const exchange = cell.exchange && `exchange ${cell.exchange}: `;
    button.append(make("span", SIGNS[cell.colour] || "–", { class: "shape", "aria-hidden": "true" }));
    if (cell.exchange) button.append(make("sub", cell.exchange, { "aria-hidden": "true" }));
    button.append(make("span", `${exchange}${cell.colour}`, { class: cell.exchange ? "hidden" : "word" }));
    button.addEventListener("click", () => chooseCell(cell));
    return button;
  };

  const chooseCell = (cell) => {
    const request = model.requests.get(cell.request);
    if (request) choose(request);
    else $("detail").replaceChildren();
    page.shown = null;
    const title = make("h2", undefined, { class: cell.colour });
    title.append(make("span", `${SIGNS[cell.colour] || "–"} `, { class: "shape", "aria-hidden": "true" }),
      `${cell.route} under ${cell.perturbation}`);
    const reasons = make("ul");
    for (const reason of cell.reasons) reasons.append(make("li", reason));
    const hit = `${cell.requests} requests were touched, ${cell.exact} of them attributed exactly.`;
    $("detail").prepend(title, make("p", `${cell.colour}. ${cell.requests ? hit : ""}`), reasons);
  };

  const matrix = () => {
    const { columns, rows } = model.matrix();
    const table = make("table");
    const head = make("tr");
    head.append(make("th", "route", { scope: "col" }), ...columns.map((c) => make("th", c, { scope: "col" })));
    const thead = make("thead");
    thead.append(head);
    const body = make("tbody");
    for (const [route, cells] of rows) {
      const line = make("tr");
      line.append(make("th", route, { scope: "row" }));
      for (const column of columns) {
        const cell = cells.get(column);
        const name = cell ? Seism.COLOURS[cell.colour] : "";
        const td = make("td", undefined, { class: name });
        if (cell) td.append(shaped(cell.colour), `${name}, ${cell.count}`);
        else td.append(make("span", "· none", { class: "possible" }));
        line.append(td);
      }
      body.append(line);
    }
    table.append(thead, body);
    $("matrix").replaceChildren(rows.length ? table : make("p", "Nothing has been hit yet."));
  };

  const list = () => {
    const { text } = filter();
    const there = new Map([...$("list").children].map((item) => [item.textContent + item.dataset.of, item]));
    const lines = [];
    for (let i = model.notGreen.length - 1; i >= 0 && lines.length < 100; i--) {
      const request = model.notGreen[i];
      if (text && !request.route.toLowerCase().includes(text)) continue;
      const item = make("li", undefined, { "data-of": request.id }), button = make("button", undefined, {
        type: "button", class: Seism.COLOURS[request.colour], "data-request": request.id,
      });
      button.append(shaped(request.colour), `${Seism.clock(request.end - model.first, 0.1)} ${request.route}: ${request.reason}`);
      button.addEventListener("click", () => choose(request));
      item.append(button);
      lines.push(there.get(item.textContent + request.id) || item);
    }
    if (!lines.length) lines.push(make("li", "Nothing."));
    // What is there stays the same element: it may have the focus, or a finger on it.
    const stays = new Set(lines);
    for (const item of [...$("list").children]) if (!stays.has(item)) item.remove();
    lines.forEach((item, i) => {
      const now = $("list").children[i];
      if (now !== item) $("list").insertBefore(item, now || null);
    });
  };

  const facts = (pairs) => {
    const dl = make("dl");
    for (const [name, value] of pairs) {
      if (value === "" || value == null) continue;
      const dd = make("dd");
      // A dotted name may break at its dots.
      String(value).split(/(?<=\.)/).forEach((part, i) => dd.append(...(i ? [make("wbr")] : []), part));
      dl.append(make("dt", name), dd);
    }
    return dl;
  };

  const HARMS = {
    abandoned: (h) => `it went away before the reply of ${h.backend} had come, and left the connection ${h.local} open`,
    crosstalk: (h) => `it was answered with a reply to the question of ${h.other || "another user of the connection"}, on the connection ${h.local} to ${h.backend}`,
    sentinel: (h) => `it got a value that the app had marked as that of ${h.other}`,
  };

  const show = (state, draw) => { page.shown = { state, draw, was: state() }; };

  const choose = (request) => {
    page.chosen = request;
    show(() => `${request.colour} ${request.reason} ${request.attributions.length} ${request.harms.length}`, () => choose(request));
    const colour = Seism.COLOURS[request.colour];
    const title = make("h2", undefined, { class: colour });
    title.append(shaped(request.colour), request.route);
    const hits = make("ul");
    for (const attribution of request.attributions) {
      const p = model.perturbations.get(attribution.perturbation);
      const what = p ? `${p.type} on ${p.proxy}` : attribution.perturbation;
      const where = p && p.offset != null ? `, from byte ${p.offset} of the connection from ${p.client}` : "";
      const item = make("li", `${attribution.role || "hit"} by ${what}${where}: ${attribution.exact ? "exact" : "only possible"}, evidence: ${attribution.evidence}`);
      if (!attribution.exact) item.className = "possible";
      hits.append(item);
    }
    const harms = make("ul");
    for (const h of request.harms)
      harms.append(make("li", `${h.what}: ${(HARMS[h.what] || (() => ""))(h)} (${h.exact ? "exact" : "only possible"})`, h.exact ? {} : { class: "possible" }));
    const log = make("ul");
    for (const e of request.errors)
      log.append(make("li", [e.logger, e.where, e.exception, e.message].filter(Boolean).join(" ")));
    const sends = make("ul");
    for (const e of request.sends) sends.append(make("li", `${e.backend}: ${e.sends} ${e.sends === 1 ? "send" : "sends"}, ${e.sent} bytes, from ${e.local}`));
    const weaknesses = make("ul");
    for (const w of request.weaknesses) {
      const item = make("li");
      item.append(make("a", w.title, { href: w.card }));
      weaknesses.append(item);
    }
    const part = (name, ul, none) => [make("h3", name), ul.childElementCount ? ul : make("p", none)];
    $("detail").replaceChildren(
      title,
      facts([
        ["verdict", colour + (request.reason ? `: ${request.reason}` : "")], ["status", request.status ?? "none"],
        ["body", request.body], ["took", `${Seism.short(request.duration * 1000)} ms`], ["exception", request.exception],
        ["request", request.id],
      ]),
      ...(request.weaknesses.length ? part("The weakness that it shows", weaknesses, "") : []),
      ...part("What hit it", hits, "Nothing that is known."),
      ...(request.harms.length ? part("What was left to it by others", harms, "") : []),
      ...part("What the app logged", log, "No error."),
      ...part("What it sent to backends", sends, "None was seen."),
    );
    touch();
  };

  const chooseEvent = (p) => {
    page.chosen = null;
    show(() => `${p.outcome} ${p.attributions.map((request) => request.colour)}`, () => chooseEvent(p));
    const named = make("ul");
    for (const request of p.attributions.slice(0, 50)) {
      const item = make("li"), button = make("button", `${SHAPES[request.colour]} ${request.route}`, { type: "button" });
      button.addEventListener("click", () => choose(request));
      item.append(button);
      named.append(item);
    }
    $("detail").replaceChildren(
      make("h2", `≈ ${p.type} on ${p.proxy}`),
      facts([
        ["toxic", p.toxic], ["stream", p.stream], ["began", Seism.clock(p.at - model.first, 0.001)],
        ["lasted", p.end === null ? "it still does" : `${Seism.short((p.end - p.at) * 1000)} ms`], ["outcome", p.outcome],
        ["connection", p.client], ["from byte", p.offset], ["perturbation", p.id],
      ]),
      make("h3", "Requests"), named.childElementCount ? named : make("p", "None that is known."),
    );
    touch();
  };

  const WHO = { api: "a call of the API", file: "the sidecar's file", chaos: "standing chaos", "": "" };
  const actor = (by) => WHO[by] ?? (by.startsWith("lease-") ? `an experiment (${by})` : by);

  const chooseRule = (rule) => {
    page.chosen = null;
    show(() => `${rule.end}`, () => chooseRule(rule));
    const { attributes = {}, stream = "", toxicity } = rule.toxic || {};
    $("detail").replaceChildren(
      make("h2", `${rule.type} was in force on ${rule.proxy}`),
      facts([
        ["toxic", rule.name], ["stream", stream],
        ["attributes", Object.entries(attributes).map(([k, v]) => `${k}=${v}`).join(" ")],
        ["toxicity", toxicity], ["from", Seism.clock(rule.at - model.first, 0.001)], ["by", actor(rule.by)],
        ["until", rule.end === null ? "it still is" : Seism.clock(rule.end - model.first, 0.001)],
        ["undone by", actor(rule.until)],
      ]),
    );
    touch();
  };

  // Pointer and keys.
  const canvas = $("canvas");
  let drag = null;
  canvas.addEventListener("pointerdown", (e) => { drag = { x: e.offsetX, to: view.to, far: false }; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => {
    if (!drag) return;
    if (!drag.far && Math.abs(e.offsetX - drag.x) < 4) return;
    drag.far = true;
    view.live = false;
    view.to = drag.to - ((e.offsetX - drag.x) / (timeline.width - timeline.gutter)) * view.span;
    live();
  });
  canvas.addEventListener("pointerup", (e) => {
    if (drag && !drag.far) {
      const hit = timeline.at(e.offsetX, e.offsetY);
      if (hit && hit.request) choose(hit.request);
      else if (hit && hit.rule) chooseRule(hit.rule);
      else if (hit) chooseEvent(hit.perturbation);
    }
    drag = null;
  });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    view.zoom(e.deltaY > 0 ? 1.25 : 0.8, (e.offsetX - timeline.gutter) / (timeline.width - timeline.gutter));
    live();
  }, { passive: false });

  const live = () => { $("live").setAttribute("aria-pressed", String(view.live)); touch(); };
  const step = (direction) => {
    const shown = [...$("list").querySelectorAll("button")].map((button) => button.dataset.request);
    if (!shown.length) return;
    const place = page.chosen ? shown.indexOf(page.chosen.id) : -1;
    choose(model.requests.get(shown[Math.min(shown.length - 1, Math.max(0, place + direction))]));
  };
  const keys = {
    " ": () => { view.live = !view.live; live(); }, "+": () => { view.zoom(0.5); live(); }, "=": () => { view.zoom(0.5); live(); },
    "-": () => { view.zoom(2); live(); }, 0: () => { view.all(); live(); },
    ArrowLeft: () => { view.pan(-view.span / 5); live(); }, ArrowRight: () => { view.pan(view.span / 5); live(); },
    ArrowDown: () => step(1), ArrowUp: () => step(-1), k: () => kill(),
  };
  document.addEventListener("keydown", (e) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(e.target.tagName);
    const pressing = e.target.tagName === "BUTTON" && e.key === " ";
    if (typing || pressing || e.ctrlKey || e.metaKey || e.altKey || !(e.key in keys)) return;
    e.preventDefault();
    keys[e.key]();
  });
  $("live").addEventListener("click", keys[" "]);
  $("in").addEventListener("click", keys["+"]);
  $("out").addEventListener("click", keys["-"]);
  $("all").addEventListener("click", keys[0]);
  for (const id of ["filter", "bad"]) $(id).addEventListener("input", () => { touch(); list(); });
  new ResizeObserver(touch).observe($("lanes"));

  const theme = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(dark));
    for (const plot of [charts.latency, charts.cpu, charts.rss, charts.connections]) plot.redraw(false, true);
    touch();
  };
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  theme(preferred.matches);
  preferred.addEventListener("change", (e) => theme(e.matches));
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));

  // Backends: what is wrong with them now, and what a person wants to be.
  const ask = () => new Promise((done) => {
    $("ask").showModal();
    $("ask").addEventListener("close", () => { sessionStorage.setItem("seism-token", $("token").value); done(); }, { once: true });
  });
  const tell = async (method, path, body) => {
    try {
      $("problem").textContent = "";
      const answer = await Seism.call(method, path, body);
      await proxies();
      return answer;
    } catch (error) {
      $("problem").textContent = error instanceof Seism.Unauthorized ? "a token is needed" : error.message;
      return undefined;
    }
  };
  const kill = async () => {
    // Standing chaos would begin anew.
    const stopped = !page.chaos || await tell("DELETE", "/seism/chaos");
    const trouble = $("problem").textContent;
    const reset = await tell("POST", "/reset") !== undefined;
    if (trouble) $("problem").textContent = trouble;
    page.undone = stopped && reset ? `everything was undone at ${new Date().toLocaleTimeString()}` : `not undone: ${$("problem").textContent}`;
    note();
  };
  $("kill").addEventListener("click", kill);

  const path = (...names) => names.map(encodeURIComponent).join("/");
  const proxies = async () => {
    const found = Object.values(await Seism.call("GET", "/proxies"));
    const state = JSON.stringify(found);
    if (state === page.proxies) return;
    page.proxies = state;
    const rows = found.map((proxy) => {
      const row = make("div", undefined, { class: "proxy", "data-proxy": proxy.name });
      const toggle = make("button", proxy.enabled ? "Take down" : "Bring up", { type: "button", "aria-label": `${proxy.enabled ? "Take down" : "Bring up"} ${proxy.name}` });
      toggle.addEventListener("click", () => tell("PATCH", `/proxies/${path(proxy.name)}`, { enabled: !proxy.enabled }));
      row.append(make("b", proxy.name), make("span", proxy.enabled ? "up" : "down", { class: proxy.enabled ? "green" : "red" }), toggle);
      for (const toxic of proxy.toxics) {
        const line = make("div", undefined, { class: "toxic" });
        const shown = Object.entries(toxic.attributes).map(([k, v]) => `${k}=${v}`).join(" ");
        const undo = make("button", "Undo", { type: "button", "aria-label": `Undo ${toxic.name} on ${proxy.name}` });
        undo.addEventListener("click", () => tell("DELETE", `/proxies/${path(proxy.name)}/toxics/${path(toxic.name)}`));
        line.append(make("span", `${toxic.type} ${toxic.stream} ${shown}`), undo);
        row.append(line);
      }
      return row;
    });
    const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
    $("proxies").replaceChildren(...(rows.length ? rows : [make("p", "No proxy yet.")]));
    if (focused) for (const button of $("proxies").querySelectorAll("button"))
      if (button.getAttribute("aria-label") === focused) button.focus();
    const select = $("add").elements.proxy, was = select.value;
    select.replaceChildren(...found.map((proxy) => make("option", proxy.name)));
    if (was) select.value = was;
    $("add").hidden = !found.length;
  };

  const declared = async () => {
    const { paths, components: { schemas } } = await Seism.call("GET", "/seism/openapi.json");
    page.chaos = "/seism/chaos" in paths;
    const types = Object.keys(schemas).filter((name) => name.startsWith("toxic.") && !name.endsWith("Shown"));
    const select = $("add").elements.type, was = select.value;
    if (was && types.length === select.options.length) return; // what a person has filled in stays
    select.replaceChildren(...types.map((name) => make("option", name.slice(6))));
    if (was) select.value = was;
    else select.value = "latency";
    const options = () => {
      const { properties = {}, required = [] } = schemas[`toxic.${select.value}`];
      $("options").replaceChildren(...Object.entries(properties).map(([name, about]) => {
        const label = make("label", `${name} `);
        let field;
        if (about.enum || about.type === "boolean") {
          field = make("select", undefined, { name: `option-${name}` });
          for (const value of about.enum || ["false", "true"]) field.append(make("option", String(value)));
        } else field = make("input", undefined, { name: `option-${name}`, ...(required.includes(name) ? { required: "" } : {}) });
        if (about.default !== undefined) field.value = String(about.default);
        field.dataset.type = about.type || "string";
        label.append(field, make("small", about.description || ""));
        return label;
      }));
    };
    select.onchange = options;
    options();
  };
  $("add").addEventListener("submit", async (e) => {
    e.preventDefault();
    const form = e.target.elements, attributes = {};
    for (const field of $("options").querySelectorAll("[name]")) {
      if (field.value === "") continue;
      const name = field.name.slice("option-".length), type = field.dataset.type;
      attributes[name] = type === "boolean" ? field.value === "true"
        : ["integer", "number"].includes(type) && !Number.isNaN(Number(field.value)) ? Number(field.value) : field.value;
    }
    await tell("POST", `/proxies/${path(form.proxy.value)}/toxics`, { type: form.type.value, stream: form.stream.value, attributes });
  });

  const state = async (name, text) => {
    $("connection").textContent = text;
    $("connection").dataset.state = name;
    if (name === "token") {
      await ask();
      begin();
    } else if (name === "live") {
      await proxies();
      await declared();
    }
  };
  const begin = () => new Seism.Feed(hear, (name, text) => {
    state(name, text).catch((error) => { $("problem").textContent = error.message; });
  }).run();

  const embedded = document.getElementById("records");
  if (embedded) { // a report: everything is here, and nobody to talk to
    for (const record of JSON.parse(embedded.textContent)) hear(record.kind, record);
    for (const id of ["kill", "live", "perturb", "connection"]) $(id).hidden = true;
    $("counts").lastElementChild.hidden = true; // nothing is going on any more
    delete keys.k;
    delete keys[" "];
    model.active.clear();
    view.all();
    const red = model.notGreen.find((request) => request.colour === 3);
    if (red) choose(red);
    tables();
  } else {
    begin();
    setInterval(() => { if ($("connection").dataset.state === "live" && !document.hidden) proxies().catch(() => {}); }, 2000);
  }
  requestAnimationFrame(frame);
})();
