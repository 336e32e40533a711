// Calls every method of toxiproxy-node-client and prints what each gave, as one JSON list.
// Arguments: the address of the control API, host:port of a backend.
const { Toxiproxy, Proxy, Toxic, ToxiproxyError } = require("toxiproxy-node-client");

const [host, upstream] = process.argv.slice(2);
const steps = [];

async function step(name, run) {
  try {
    steps.push([name, await run()]);
  } catch (error) {
    if (!(error instanceof ToxiproxyError)) throw error;
    steps.push([name, { refused: error.message }]);
  }
}

async function main() {
  const client = new Toxiproxy(host);
  const wanted = { name: "one", listen: "127.0.0.1:0", upstream };
  const toxic = { name: "slow", type: "latency", stream: "upstream", toxicity: 0.5,
    attributes: { latency: 100, jitter: 5 } };

  await step("version", () => client.getVersion());
  await step("create", async () => (await client.createProxy(wanted)).toJson());
  await step("create again", () => client.createProxy(wanted));
  await step("create without upstream", () => client.createProxy({ name: "bad" }));
  await step("get", async () => (await client.get("one")).toJson());
  await step("get unknown", () => client.get("unknown"));
  await step("getAll", async () => Object.keys(await client.getAll()));

  const proxy = await client.get("one");
  const whole = { enabled: false, listen: proxy.listen, upstream };
  await step("disable", async () => (await proxy.update(whole)).enabled);
  await step("enable", async () => (await proxy.update({ ...whole, enabled: true })).enabled);
  await step("kept listen", async () => (await client.get("one")).listen === proxy.listen);

  await step("addToxic", async () => (await proxy.addToxic(toxic)).toJson());
  await step("addToxic again", () => proxy.addToxic(toxic));
  await step("addToxic of no type", () => proxy.addToxic({ ...toxic, name: "x", type: "nothing" }));
  await step("getToxic", async () => (await proxy.getToxic("slow")).toJson());
  await step("getToxic unknown", () => proxy.getToxic("unknown"));
  const slow = await proxy.getToxic("slow");
  await step("updateToxic", async () =>
    (await slow.update({ ...slow.toJson(), toxicity: 1, attributes: { latency: 7 } })).toJson());
  await step("removeToxic", () => slow.remove());
  await step("removeToxic again", () => slow.remove());

  await proxy.addToxic({ ...toxic, name: "gone" });
  await proxy.update(whole);
  await step("reset", () => client.reset());
  await step("after reset", async () => (await client.get("one")).enabled);
  await step("toxics after reset", () => proxy.getToxic("gone"));

  await step("populate", async () => {
    const made = await client.populate([{ ...wanted, listen: proxy.listen }, { ...wanted, name: "two" }]);
    return Object.values(made).map((each) => [each.name, each instanceof Proxy, each.enabled]);
  });
  await step("getAll after populate", async () => Object.keys(await client.getAll()));
  await step("remove", () => proxy.remove());
  await step("remove again", () => proxy.remove());
  await step("classes", () => slow instanceof Toxic && proxy.getToxiproxy() === client);
  console.log(JSON.stringify(steps));
}

main();
