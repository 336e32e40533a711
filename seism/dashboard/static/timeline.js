"use strict";
/* The lanes: one per route with its requests, one per backend with its perturbations. */

Seism.View = class {
  constructor(model) {
    this.model = model;
    this.live = true;
    this.span = 60;
    this.to = 0;
  }

  get from() { return this.to - this.span; }

  follow(now) {
    if (!this.live) return;
    this.to = now;
    // Young runs fill the width, too.
    if (!this.zoomed && now) this.span = Math.min(60, Math.max(10, (now - this.model.first) * 1.05));
  }

  zoom(factor, at) {
    this.zoomed = true;
    const whole = Math.max(1, this.model.last - this.model.oldest) * 1.1;
    const span = Math.min(Math.max(this.span * factor, 0.02), Math.max(whole, 60));
    const place = at === undefined ? (this.live ? 1 : 0.5) : at;
    this.to = this.from + place * this.span + (1 - place) * span;
    this.span = span;
    if (place < 1) this.live = false;
  }

  pan(seconds) {
    this.live = false;
    this.to += seconds;
  }

  all() {
    if (this.model.oldest > this.model.last) return;
    this.live = false;
    const margin = Math.max(0.01, (this.model.last - this.model.oldest) * 0.02);
    this.to = this.model.last + margin;
    this.span = this.model.last - this.model.oldest + 2 * margin;
  }
};

Seism.Timeline = class {
  constructor(canvas, view, filter) {
    this.canvas = canvas;
    this.view = view;
    this.filter = filter; // () -> {text, bad}
    this.context = canvas.getContext("2d");
    this.gutter = 190;
    this.row = 22;
    this.hits = []; // what can be chosen: {x, y, request | perturbation}
    this.chosen = null;
    this.marks = 0; // drawn at the last time, for whoever tests it
  }

  lanes() {
    const { text } = this.filter();
    const wanted = (name) => !text || name.toLowerCase().includes(text);
    const model = this.view.model;
    return [
      ...[...model.routes.keys()].sort().filter(wanted).map((name) => ({ name, route: true })),
      ...[...model.backends.keys()].sort().filter(wanted).map((name) => ({ name, route: false })),
    ];
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.palette = {
      pending: colour("faint"), green: colour("green"), amber: colour("amber"), red: colour("red"),
      text: colour("text"), faint: colour("faint"), line: colour("line"), quake: colour("quake"),
      back: colour("panel"),
    };
    const lanes = this.lanes();
    const width = this.canvas.parentElement.clientWidth;
    const height = Math.max(3, lanes.length) * this.row + 24;
    const scale = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.canvas.style.height = `${height}px`;
    }
    this.width = width;
    this.height = height;
    const c = this.context;
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "12px system-ui, sans-serif";
    c.textBaseline = "middle";
    this.hits = [];
    this.marks = 0;
    this.grid(c);
    this.shade(c, lanes);
    lanes.forEach((lane, index) => {
      const y = index * this.row;
      c.fillStyle = this.palette.line;
      c.fillRect(0, y + this.row - 1, width, 1);
      c.fillStyle = this.palette.text;
      c.fillText(Seism.fit(c, (lane.route ? "" : "≈ ") + lane.name, this.gutter - 14), 6, y + this.row / 2);
      if (lane.route) this.requests(c, this.view.model.routes.get(lane.name), y);
      else {
        this.perturbations(c, this.view.model.backends.get(lane.name), y);
        this.rules(c, this.view.model.rules.get(lane.name) || [], y);
      }
    });
    if (!lanes.length) {
      c.fillStyle = this.palette.faint;
      c.fillText("Nothing yet. Send the app a request, or change the filter.", this.gutter, this.row);
    }
  }

  x(t) { return this.gutter + ((t - this.view.from) / this.view.span) * (this.width - this.gutter); }

  t(x) { return this.view.from + ((x - this.gutter) / (this.width - this.gutter)) * this.view.span; }

  grid(c) {
    const step = Seism.step(this.view.span / 6);
    const origin = Number.isFinite(this.view.model.first) ? this.view.model.first : 0;
    c.fillStyle = this.palette.faint;
    for (let t = Math.ceil((this.view.from - origin) / step) * step; t <= this.view.to - origin; t += step) {
      const x = this.x(t + origin);
      if (x < this.gutter) continue;
      c.fillRect(x, 0, 0.5, this.height - 20);
      const label = Seism.clock(t, step);
      if (x + 3 + c.measureText(label).width <= this.width) c.fillText(label, x + 3, this.height - 9);
    }
  }

  /* A perturbation shades the requests of its time. */
  shade(c, lanes) {
    const routes = lanes.filter((lane) => lane.route).length;
    if (!routes) return;
    c.fillStyle = this.palette.quake;
    c.globalAlpha = 0.09;
    const done = new Set();
    for (const list of this.view.model.backends.values())
      for (const p of this.visible(list)) {
        const left = Math.max(this.gutter, this.x(p.at));
        const right = Math.max(left + 1, this.x(p.end ?? this.view.to));
        const place = `${Math.round(left)}-${Math.round(right)}`;
        if (done.has(place)) continue; // seen from afar, many are one
        done.add(place);
        c.fillRect(left, 0, right - left, routes * this.row);
      }
    c.globalAlpha = 1;
  }

  visible(list) {
    // By their begin: one that is long may have begun before the first that is seen.
    const last = Seism.lower(list, this.view.to, (p) => p.at);
    return list.slice(0, last).filter((p) => (p.end ?? Infinity) >= this.view.from);
  }

  perturbations(c, list, y) {
    let drawn = -1;
    for (const p of this.visible(list)) {
      const left = Math.max(this.gutter, this.x(p.at));
      const right = Math.min(this.width, Math.max(left + 3, this.x(p.end ?? this.view.to)));
      this.hits.push({ x: left, to: right, y: y + this.row / 2, perturbation: p });
      if (right - drawn < 1) continue;
      drawn = right;
      this.marks++;
      c.fillStyle = this.palette.quake;
      c.globalAlpha = p.end === null ? 1 : 0.75;
      c.fillRect(left, y + 4, right - left, this.row - 9);
      c.globalAlpha = 1;
      if (right - left > 40) {
        c.fillStyle = this.palette.back;
        c.fillText(Seism.fit(c, p.type, right - left - 6), left + 3, y + this.row / 2);
      }
    }
  }

  /* What is in force lies under what it does. */
  rules(c, list, y) {
    c.fillStyle = this.palette.faint;
    for (const rule of this.visible(list)) {
      const left = Math.max(this.gutter, this.x(rule.at));
      const right = Math.min(this.width, Math.max(left + 2, this.x(rule.end ?? this.view.to)));
      c.fillRect(left, y + this.row - 4, right - left, 2);
      this.hits.push({ x: left, to: right, y: y + this.row / 2, rule });
    }
  }

  requests(c, list, y) {
    const { bad } = this.filter();
    const from = Seism.lower(list, this.view.from, (r) => r.end);
    const to = Seism.lower(list, this.view.to, (r) => r.end);
    const room = this.width - this.gutter;
    if ((to - from) * 4 > room) this.columns(c, list, from, to, y, bad);
    else
      // The worst on top.
      for (const r of list.slice(from, to).sort((a, b) => a.colour - b.colour)) {
        if (bad && r.colour < 2) continue;
        const x = Math.floor(this.x(r.end)) + 0.5; // in the middle of a pixel, so that it is sharp
        this.mark(c, r.colour, x, y + this.row / 2 + 0.5, r === this.chosen);
        this.hits.push({ x, y: y + this.row / 2 + 0.5, request: r });
      }
  }

  /* Too many for marks: for each pixel how many of each colour, the worst on top. */
  columns(c, list, from, to, y, bad) {
    const room = Math.ceil(this.width - this.gutter);
    const counts = [new Uint32Array(room), new Uint32Array(room), new Uint32Array(room), new Uint32Array(room)];
    const scale = room / this.view.span;
    const worst = new Array(room);
    for (let i = from; i < to; i++) {
      const r = list[i];
      if (bad && r.colour < 2) continue;
      const x = Math.min(room - 1, Math.floor((r.end - this.view.from) * scale));
      counts[r.colour][x]++;
      if (!worst[x] || worst[x].colour < r.colour) worst[x] = r;
    }
    let most = 1;
    for (let x = 0; x < room; x++)
      most = Math.max(most, counts[0][x] + counts[1][x] + counts[2][x] + counts[3][x]);
    const unit = (this.row - 5) / Math.log2(most + 1);
    for (let x = 0; x < room; x++) {
      if (!worst[x]) continue;
      this.marks++;
      this.hits.push({ x: this.gutter + x, y: y + this.row / 2, request: worst[x] });
      const total = counts[0][x] + counts[1][x] + counts[2][x] + counts[3][x];
      const tall = Math.log2(total + 1) * unit;
      let top = y + this.row - 2 - tall;
      for (const colour of [3, 2, 1, 0]) {
        if (!counts[colour][x]) continue;
        // A single red among thousands must be seen.
        const part = Math.max(colour > 1 ? 4 : 1, (tall * counts[colour][x]) / total);
        c.fillStyle = this.palette[Seism.COLOURS[colour]];
        c.fillRect(this.gutter + x, top, 1, Math.min(part, y + this.row - 2 - top));
        top += part;
        if (top >= y + this.row - 2) break;
      }
    }
  }

  /* A shape for each verdict, so that colour is not all that tells them apart. */
  mark(c, colour, x, y, chosen) {
    this.marks++;
    c.fillStyle = c.strokeStyle = this.palette[Seism.COLOURS[colour]];
    c.lineWidth = 2.5;
    c.beginPath();
    if (colour === 3) {
      c.moveTo(x - 4, y - 4); c.lineTo(x + 4, y + 4);
      c.moveTo(x + 4, y - 4); c.lineTo(x - 4, y + 4);
      c.stroke();
    } else if (colour === 2) {
      c.moveTo(x, y - 5); c.lineTo(x + 5, y + 4); c.lineTo(x - 5, y + 4);
      c.fill();
    } else {
      c.arc(x, y, colour ? 3 : 2, 0, 7);
      c.fill();
    }
    if (chosen) {
      c.strokeStyle = this.palette.text;
      c.lineWidth = 1;
      c.strokeRect(x - 7, y - 7, 14, 14);
    }
  }

  /* What lies nearest to a point, within reach. */
  at(x, y) {
    let best = null, least = 12;
    for (const hit of this.hits) {
      if (Math.abs(hit.y - y) > this.row / 2) continue;
      const distance = hit.to && x >= hit.x && x <= hit.to ? 0 : Math.abs(hit.x - x);
      // Of those that are as near, the worst.
      const tie = distance === least && best && best.request && hit.request
        && hit.request.colour > best.request.colour;
      if (distance < least || tie) { best = hit; least = distance; }
    }
    return best;
  }
};

Seism.step = (rough) => {
  for (const step of [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600])
    if (step >= rough) return step;
  return Math.ceil(rough / 7200) * 7200;
};

/* Seconds since the first record. */
Seism.clock = (seconds, step) => {
  const sign = seconds < 0 ? "-" : "";
  const s = Math.abs(seconds);
  const digits = step >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(step)));
  const rest = (s % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${sign}${minutes}:${rest}`;
  return `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
};

Seism.fit = (c, text, width) => {
  if (c.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && c.measureText(text.slice(0, length) + "…").width > width) length--;
  return text.slice(0, length) + "…";
};
