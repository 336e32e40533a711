"use strict";
/* What is known: the journal's records, as they come, and what follows from them. No DOM. */

globalThis.Seism = {};

Seism.COLOURS = ["pending", "green", "amber", "red"];
Seism.LIMIT = 200000; // requests kept; the oldest go first

Seism.Model = class {
  constructor() {
    this.requests = new Map();
    this.routes = new Map(); // "GET /x" -> its requests, by the time of their end
    this.perturbations = new Map();
    this.backends = new Map(); // name -> its perturbations, by the time of their begin
    this.counts = [0, 0, 0, 0];
    this.notGreen = []; // by the time of their end
    this.active = new Set();
    this.orphans = new Map(); // request -> links that came before it
    this.missed = 0;
    this.first = Infinity;
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
      { id: r.request, route, end, colour: 0, reason: "", links: [] }, Seism.observed(r));
    for (const link of this.orphans.get(r.request) || []) this.join(link, request);
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

  perturbation_began(r) {
    if (this.perturbations.has(r.perturbation)) return;
    const perturbation = {
      id: r.perturbation, proxy: r.proxy, toxic: r.toxic, type: r.type, stream: r.stream || "",
      at: r.at, end: null, outcome: "", client: r.client || "", offset: r.offset, links: [],
      exchange: r.exchange || null,
    };
    this.perturbations.set(perturbation.id, perturbation);
    if (!this.backends.has(r.proxy)) this.backends.set(r.proxy, []);
    Seism.insert(this.backends.get(r.proxy), perturbation, (x) => x.at);
    this.active.add(perturbation.id);
    this.see(r.at, r.at);
  }

  perturbation_ended(r) {
    const perturbation = this.perturbations.get(r.perturbation);
    if (!perturbation) return;
    perturbation.end = r.at;
    perturbation.outcome = r.outcome;
    this.active.delete(r.perturbation);
    this.see(r.at, r.at);
  }

  link(r) {
    if (!r.request) return;
    const request = this.requests.get(r.request);
    if (request) this.join(r, request);
    else if (this.orphans.size < 10000)
      this.orphans.set(r.request, [...(this.orphans.get(r.request) || []), r]);
  }

  join(link, request) {
    request.links.push(link);
    const perturbation = this.perturbations.get(link.perturbation);
    if (perturbation) perturbation.links.push(request);
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
    if (to > this.last) this.last = to;
  }

  forget() {
    let left = Seism.LIMIT / 10;
    for (const [id, request] of this.requests) {
      if (left-- <= 0) break;
      this.requests.delete(id);
      const row = this.routes.get(request.route);
      row.splice(row.indexOf(request), 1);
      const bad = this.notGreen.indexOf(request);
      if (bad >= 0) this.notGreen.splice(bad, 1);
    }
    this.vitals.splice(0, Math.floor(this.vitals.length / 10));
  }

  /* {route: {what: {colour, requests}}} of the requests that were touched by "backend type". */
  matrix() {
    const columns = new Map(), rows = new Map();
    for (const p of this.perturbations.values()) {
      const what = `${p.proxy} ${p.type}`;
      columns.set(what, (columns.get(what) || 0) + 1);
      for (const request of p.links) {
        if (!rows.has(request.route)) rows.set(request.route, new Map());
        const row = rows.get(request.route);
        const cell = row.get(what) || { colour: 0, requests: new Set() };
        cell.colour = Math.max(cell.colour, request.colour);
        cell.requests.add(request);
        row.set(what, cell);
      }
    }
    return { columns: [...columns.keys()].sort(), rows: [...rows].sort() };
  }
};

Seism.observed = (r) => ({
  began: r.began, duration: r.duration, status: r.status ?? null, body: r.body,
  exception: r.exception || "", errors: r.errors || [], exchanges: r.exchanges || [],
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
