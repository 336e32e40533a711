"use strict";
/* The states that dashboard/static/model.js reaches with the records of a fixture, as JSON:
   node feed.js model.js feed.json */

const { readFileSync } = require("node:fs");
const { runInThisContext } = require("node:vm");

const [model, fixture] = process.argv.slice(2);
runInThisContext(readFileSync(model, "utf8"), { filename: model });

/* Of a list of [key, value]. */
const object = (pairs) => Object.fromEntries(pairs);

function reached(records) {
  const state = new Seism.Model();
  for (const record of records)
    if (record.restart) state.missing(null);
    else state.add(record.kind, record);
  const cells = [];
  for (const [route, row] of state.matrix().rows)
    for (const [what, cell] of row)
      cells.push([`${route} under ${what}`, { colour: Seism.COLOURS[cell.colour], requests: cell.count }]);
  return {
    counts: object(state.counts.map((count, i) => [Seism.COLOURS[i], count]).filter(([, count]) => count)),
    routes: object([...state.routes].map(([route, list]) => [route, list.map((request) => request.id)])),
    statuses: object([...state.requests.values()].map((request) => [request.id, request.status])),
    bad: object(state.notGreen.map((request) => [request.id, request.reason])),
    active: state.active.size,
    backends: object([...state.backends].map(([name, list]) => [name, list.map((p) => [p.type, p.at, p.end])])),
    cells: object(cells),
    last: state.last === -Infinity ? 0 : state.last,
  };
}

const cases = JSON.parse(readFileSync(fixture, "utf8"));
process.stdout.write(JSON.stringify(object(cases.map((each) => [each.name, reached(each.records)]))));
