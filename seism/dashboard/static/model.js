"use strict";
/* What is known: the journal's records, as they come, and what follows from them. No DOM. */

globalThis.Seism = {};

Seism.COLOURS = ["pending", "green", "amber", "red"];
Seism.LIMIT = 200000; // requests kept; the oldest go first
Seism.EFFECTS = 20000; // perturbations kept

Seism.Model = class {
  constructor() {
    this.requests = new Map();
    this.routes = new Map(); // "GET /x" -> its requests, by the time of their end
    this.perturbations = new Map();
    this.backends = new Map(); // name -> its perturbations, by the time of their begin
    this.counts = [0, 0, 0, 0];
    this.notGreen = []; // by the time of their end
    this.rules = new Map(); // backend -> what was in force on it, by the time of its begin
    this.active = new Set();
    this.touched = new Map(); // route -> "backend type" -> {requests, colour and count of those forgotten}
    this.effects = new Set(); // each "backend type" that there was
    this.run = 0; // which sidecar it is; each numbers its perturbations from 1
    this.greeted = false;
    this.earlier = 0; // requests that the sidecar no longer had when the page came
    this.forgotten = 0; // requests that are counted, and not shown any more
    this.orphans = new Map(); // request -> attributions and harms that came before it
    this.missed = 0;
    this.first = Infinity; // of all that was ever seen: where the clock begins
    this.oldest = Infinity; // of what is shown
    this.last = -Infinity;
    this.version = 0;
    this.vitals = []; // {t, rss, cpu, connections}
    this.verdict = null; // of a run that is over: {colour, headline}
    this.cells = []; // of a run that is over, in its order
  }

  add(kind, record) {
    const take = this[kind === "verdict" ? "verdict_of" : kind.replace(".", "_")];
    if (take) {
      take.call(this, record);
      this.version++;
    }
  }

  request_ended(r) {
    const end = r.began + r.duration;
    const known = this.requests.get(r.request);
    if (known) { // sent again: the last one counts
      Object.assign(known, Seism.observed(r));
      return;
    }
    const route = `${r.method} ${r.route}`;
    const request = Object.assign(
      { id: r.request, route, end, colour: 0, reason: "", attributions: [], harms: [], weaknesses: [] }, Seism.observed(r));
    for (const early of this.orphans.get(r.request) || [])
      if (early.kind === "harm") request.harms.push(early);
      else this.join(early, request);
    this.orphans.delete(r.request);
    this.requests.set(request.id, request);
    if (!this.routes.has(route)) this.routes.set(route, []);
    Seism.insert(this.routes.get(route), request, (x) => x.end);
    this.counts[0]++;
    this.see(r.began, end);
    if (r.rss != null || r.connections != null || r.cpu != null)
      this.vitals.push({ t: end, rss: r.rss, cpu: r.cpu, connections: r.connections });
    if (this.requests.size > Seism.LIMIT) this.forget();
  }

  opinion(r) {
    const request = this.requests.get(r.request);
    if (!request) return;
    const colour = Seism.COLOURS.indexOf(r.colour);
    this.counts[request.colour]--;
    this.counts[colour]++;
    if (request.colour > 1) this.notGreen.splice(this.notGreen.indexOf(request), 1);
    if (colour > 1) Seism.insert(this.notGreen, request, (x) => x.end);
    request.colour = colour;
    request.reason = r.reason || "";
  }

  weakness(r) {
    for (const id of r.requests) this.requests.get(id)?.weaknesses.push(r);
  }

  hello(r) {
    if (this.greeted) return; // later ones tell of what was seen here
    this.greeted = true;
    this.earlier = r.earlier.observations || 0;
  }

  /* Null: the sidecar is another one, and nobody knows how many. */
  missing(counts) {
    this.version++;
    if (counts) {
      for (const count of Object.values(counts)) this.missed += count;
      return;
    }
    this.run++;
    for (const key of this.active) {
      const perturbation = this.perturbations.get(key);
      perturbation.end = Math.max(perturbation.at, this.last);
      perturbation.outcome = "unknown: the sidecar went away";
    }
    this.active.clear();
    for (const list of this.rules.values())
      for (const rule of list) if (rule.end === null) Object.assign(rule, { end: this.last, until: "the sidecar's end" });
  }

  /* A toxic, or that the proxy is down, is in force from one change to the next. */
  toxic_changed(r) {
    if (!this.backends.has(r.proxy)) this.backends.set(r.proxy, []);
    if (!this.rules.has(r.proxy)) this.rules.set(r.proxy, []);
    const list = this.rules.get(r.proxy), name = r.toxic ? r.toxic.name : "";
    for (const rule of list)
      if (rule.name === name && rule.end === null) Object.assign(rule, { end: r.at, until: r.by });
    if (!["removed", "up"].includes(r.change))
      Seism.insert(list, { name, type: r.toxic ? r.toxic.type : "down", at: r.at, end: null, by: r.by, until: "",
        proxy: r.proxy, toxic: r.toxic }, (x) => x.at);
    if (list.length > Seism.EFFECTS) this.rules.set(r.proxy, list.slice(Seism.EFFECTS / 10));
    this.see(r.at, r.at);
  }

  key(id) { return this.run ? `${this.run}/${id}` : id; }

  perturbation_began(r) {
    const key = this.key(r.perturbation);
    if (this.perturbations.has(key)) return;
    const perturbation = {
      id: r.perturbation, key, proxy: r.proxy, toxic: r.toxic, type: r.type, stream: r.stream || "",
      at: r.at, end: null, outcome: "", client: r.client || "", offset: r.offset, attributions: [],
      exchange: r.exchange || null,
    };
    this.perturbations.set(key, perturbation);
    this.effects.add(`${r.proxy} ${r.type}`);
    if (!this.backends.has(r.proxy)) this.backends.set(r.proxy, []);
    Seism.insert(this.backends.get(r.proxy), perturbation, (x) => x.at);
    this.active.add(key);
    this.see(r.at, r.at);
    if (this.perturbations.size > Seism.EFFECTS) this.forgetEffects();
  }

  perturbation_ended(r) {
    const perturbation = this.perturbations.get(this.key(r.perturbation));
    if (!perturbation) return;
    perturbation.end = r.at;
    perturbation.outcome = r.outcome;
    this.active.delete(perturbation.key);
    this.see(r.at, r.at);
  }

  attribution(r) {
    if (!r.request) return;
    const attribution = { ...r, perturbation: this.key(r.perturbation) };
    const request = this.requests.get(r.request);
    if (request) this.join(attribution, request);
    else this.keep(attribution);
  }

  harm(r) {
    const request = this.requests.get(r.request);
    if (request) request.harms.push(r);
    else this.keep(r);
  }

  /* Until its request comes. */
  keep(record) {
    this.orphans.set(record.request, [...(this.orphans.get(record.request) || []), record]);
    if (this.orphans.size > 10000) this.orphans.delete(this.orphans.keys().next().value);
  }

  join(attribution, request) {
    request.attributions.push(attribution);
    const perturbation = this.perturbations.get(attribution.perturbation);
    if (!perturbation) return;
    perturbation.attributions.push(request);
    this.cell_of(request.route, `${perturbation.proxy} ${perturbation.type}`).requests.add(request);
  }

  cell_of(route, what) {
    if (!this.touched.has(route)) this.touched.set(route, new Map());
    const row = this.touched.get(route);
    if (!row.has(what)) row.set(what, { requests: new Set(), colour: 0, count: 0 });
    return row.get(what);
  }

  verdict_of(r) { this.verdict = r; }

  cell(r) { this.cells.push(r); }

  /* What was tried: route -> "backend toxic" -> its cells, one per exchange in a sweep. */
  tried() {
    const columns = new Set(), rows = new Map();
    for (const cell of this.cells) {
      const [, column, exchange] = /^(.*?)(?: #(\d+))?$/s.exec(cell.perturbation);
      columns.add(column);
      if (!rows.has(cell.route)) rows.set(cell.route, new Map());
      const row = rows.get(cell.route);
      if (!row.has(column)) row.set(column, []);
      row.get(column).push({ ...cell, exchange: exchange || "" });
    }
    return { columns: [...columns], rows: [...rows] };
  }

  see(from, to) {
    if (from < this.first) this.first = from;
    if (from < this.oldest) this.oldest = from;
    if (to > this.last) this.last = to;
  }

  /* A tenth at once, so that it is seldom; what they were stays in the counts and in the matrix. */
  forget() {
    const gone = new Set();
    for (const request of this.requests.values()) {
      if (gone.size >= Seism.LIMIT / 10) break;
      gone.add(request);
    }
    const stays = (request) => !gone.has(request);
    for (const request of gone) this.requests.delete(request.id);
    for (const [route, list] of this.routes) this.routes.set(route, list.filter(stays));
    this.notGreen = this.notGreen.filter(stays);
    for (const row of this.touched.values())
      for (const cell of row.values())
        for (const request of cell.requests) {
          if (stays(request)) continue;
          cell.requests.delete(request);
          cell.colour = Math.max(cell.colour, request.colour);
          cell.count++;
        }
    for (const perturbation of this.perturbations.values())
      if (perturbation.attributions.length) perturbation.attributions = perturbation.attributions.filter(stays);
    this.forgotten += gone.size;
    this.oldest = this.last;
    for (const request of this.requests.values()) this.oldest = Math.min(this.oldest, request.began);
    this.vitals = this.vitals.filter((each) => each.t >= this.oldest);
  }

  forgetEffects() {
    let left = Seism.EFFECTS / 10;
    const gone = new Set();
    for (const perturbation of this.perturbations.values()) {
      if (left-- <= 0) break;
      if (perturbation.end !== null) gone.add(perturbation);
    }
    for (const perturbation of gone) this.perturbations.delete(perturbation.key);
    for (const [name, list] of this.backends) this.backends.set(name, list.filter((each) => !gone.has(each)));
  }

  /* {route: {what: {colour, count}}} of the requests that were touched by "backend type". */
  matrix() {
    const rows = [...this.touched].map(([route, cells]) => [route, new Map([...cells].map(([what, cell]) => {
      let { colour, count } = cell;
      for (const request of cell.requests) if (request.colour > colour) colour = request.colour;
      count += cell.requests.size;
      return [what, { colour, count }];
    }))]);
    return { columns: [...this.effects].sort(), rows: rows.sort((a, b) => (a[0] < b[0] ? -1 : 1)) };
  }
};

Seism.observed = (r) => ({
  began: r.began, duration: r.duration, status: r.status ?? null, body: r.body,
  exception: r.exception || "", errors: r.errors || [], sends: r.sends || [],
  retry: Boolean(r.retry_after),
});

/* Mostly the newest comes last. */
Seism.insert = (list, item, key) => {
  let place = list.length;
  while (place > 0 && key(list[place - 1]) > key(item)) place--;
  if (place === list.length) list.push(item);
  else list.splice(place, 0, item);
};

/* The first index whose key is at least `value`. */
Seism.lower = (list, value, key) => {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
};
