"use strict";
/* Latency, CPU, memory and connections under the lanes, on the same time axis. */

const HEIGHT = 68;

Seism.Charts = class {
  constructor(root, view, gutter) {
    this.view = view;
    const colour = (name) => () =>
      getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    const chart = (title, series) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = title;
      if (series.length > 1) // each line says what it is
        for (const [label, , dash] of series) {
          const key = document.createElement("span");
          key.textContent = `${dash ? "┄" : "―"} ${label}`;
          caption.append(key);
        }
      figure.append(caption);
      root.append(figure);
      const axis = { stroke: colour("text"), grid: { stroke: colour("line") }, ticks: { show: false } };
      const plot = new uPlot({
        width: Math.max(200, root.clientWidth), height: HEIGHT, cursor: { show: false }, legend: { show: false },
        padding: [8, 0, 8, 0],
        scales: { x: { time: false, range: () => [this.view.from, this.view.to] }, y: { range: (u, low, high) => [0, (high || 1) * 1.1] } },
        axes: [{ ...axis, show: false }, { ...axis, size: gutter, space: 22, values: (u, splits) => splits.map((v) => Seism.short(v)) }],
        series: [{}, ...series.map(([label, name, dash]) => ({ label, stroke: colour(name), dash, width: 1.5, spanGaps: true, points: { show: false } }))],
      }, [[], ...series.map(() => [])], figure);
      return plot;
    };
    this.root = root;
    this.latency = chart("latency, ms", [["p99", "quake"], ["median", "text", [3, 3]]]);
    this.cpu = chart("CPU of a request, ms", [["cpu", "quake"]]);
    this.rss = chart("memory, largest worker, MiB", [["rss", "quake"]]);
    this.connections = chart("connections to backends, most of a worker", [["connections", "quake"]]);
  }

  draw() {
    const { from, to, span, model } = this.view;
    const width = Math.max(200, this.root.clientWidth);
    const buckets = Math.min(240, Math.max(20, Math.floor((width - 190) / 4)));
    const place = (t) => Math.min(buckets - 1, Math.floor(((t - from) / span) * buckets));
    const times = Array.from({ length: buckets }, (_, i) => from + ((i + 0.5) / buckets) * span);
    const durations = Array.from({ length: buckets }, () => []);
    const end = (r) => r.end;
    const seen = [...model.routes.values()].map((list) => [list, Seism.lower(list, from, end), Seism.lower(list, to, end)]);
    // Some thousands of them say as much as all.
    const stride = Math.max(1, Math.floor(seen.reduce((sum, [, first, last]) => sum + last - first, 0) / 20000));
    for (const [list, first, last] of seen)
      for (let i = first; i < last; i += stride) durations[place(list[i].end)].push(list[i].duration * 1000);
    const quantile = (q) => durations.map((list) => {
      if (!list.length) return null;
      return list[Math.max(0, Math.ceil(q * list.length) - 1)];
    });
    for (const list of durations) list.sort((a, b) => a - b);
    const resize = (plot) => { if (plot.width !== width) plot.setSize({ width, height: HEIGHT }); };
    const show = (plot, ...columns) => { resize(plot); plot.setData([times, ...columns]); };
    show(this.latency, quantile(0.99), quantile(0.5));
    const most = { cpu: new Array(buckets).fill(null), rss: new Array(buckets).fill(null), connections: new Array(buckets).fill(null) };
    for (const v of model.vitals) {
      if (v.t < from || v.t >= to) continue;
      const i = place(v.t);
      for (const key of Object.keys(most)) if (v[key] != null) most[key][i] = Math.max(most[key][i] ?? 0, v[key]);
    }
    show(this.cpu, most.cpu.map((v) => (v === null ? null : v * 1000)));
    show(this.rss, most.rss.map((v) => (v === null ? null : v / 1048576)));
    show(this.connections, most.connections);
  }
};

Seism.short = (v) => (v >= 10000 ? `${+(v / 1000).toPrecision(3)}k` : String(+v.toPrecision(3)));
