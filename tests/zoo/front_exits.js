// Behind a front, an app that ends itself when its backend fails; or, with HANGS, that never answers again.
const http = require("http"), net = require("net");
const [host, port] = process.env.CACHE.split(":");
let broken = false;
http.createServer((request, response) => {
  if (request.url === "/") return response.end("up");
  const fail = () => { response.writeHead(500); response.end("broken"); };
  if (broken) return fail();
  const client = net.connect(+port, host, () => client.write("PING\r\n"));
  client.on("data", () => { response.end("x"); client.end(); });
  client.on("error", (error) => {
    console.error("fatal:", error.code);
    if (!process.env.HANGS) process.exit(3);
    broken = true;
    fail();
  });
}).listen(+process.argv[2], "127.0.0.1");
