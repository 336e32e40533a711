// Behind a front, which can't know whose bytes a backend gets. /cart asks the cache, /about never does.
const http = require("http"), net = require("net");
const [host, port] = process.env.CACHE.split(":");
http.createServer((request, response) => {
  if (request.url !== "/cart") return response.end("hello");
  const client = net.connect(+port, host, () => client.write("PING\r\n"));
  client.on("data", () => { response.end("empty"); client.end(); });
  client.on("error", () => {
    response.writeHead(process.env.POLITE ? 503 : 500, process.env.POLITE ? { "Retry-After": "1" } : {});
    response.end("away");
  });
}).listen(+process.argv[2], "127.0.0.1");
