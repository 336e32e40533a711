// An app on an HTTP backend, over kept connections. FORWARD=1: it hands the trace on.
'use strict'
const http = require('http')

const backend = new URL(process.env.BACKEND)
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 })

http.createServer((request, response) => {
  const headers = process.env.FORWARD ? { traceparent: request.headers.traceparent } : {}
  const failed = () => {
    if (!response.headersSent) response.writeHead(502)
    response.end('gone')
  }
  http.get({ agent, headers, host: backend.hostname, port: backend.port, path: request.url },
    answer => {
      response.writeHead(answer.statusCode)
      answer.on('error', failed).pipe(response)
    }).on('error', failed)
}).listen(Number(process.argv[2]), '127.0.0.1')
