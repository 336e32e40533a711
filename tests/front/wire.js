// What HTTP/1.1 can do, by Node's own http module: one path for each case.
'use strict'
const http = require('http')

const server = http.createServer((request, response) => {
  const chunks = []
  switch (request.url.split('?')[0]) {
    case '/trace':
      return response.end(JSON.stringify(request.rawHeaders))
    case '/stream': // a chunk whenever the client has sent something
      response.writeHead(200, { Trailer: 'X-Sum' })
      request.on('data', data => response.write(data))
      return request.on('end', () => { response.addTrailers({ 'X-Sum': 'all' }); response.end() })
    case '/upload':
      request.on('data', data => chunks.push(data.length))
      return request.on('end', () => response.end(String(chunks.reduce((a, b) => a + b, 0))))
    case '/large':
      return response.end(Buffer.alloc(32 * 1024 * 1024, 'x'))
    case '/early':
      response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' })
      return response.end('late')
    case '/busy':
      response.writeHead(503, { 'Retry-After': '7' })
      return response.end('later')
    case '/old': // its end is the connection's
      request.socket.write('HTTP/1.0 200 OK\r\n\r\nuntil the end')
      return request.socket.end()
    case '/short':
      response.writeHead(200, { 'Content-Length': 100 })
      return response.write('half', () => request.socket.destroy())
    case '/none':
      return request.socket.destroy()
    case '/reset':
      return request.socket.resetAndDestroy()
    case '/hang':
      return
  }
  response.end('fine')
})
server.on('checkContinue', (request, response) => {
  response.writeContinue()
  server.emit('request', request, response)
})
server.on('upgrade', (request, socket) => { // a tunnel that says everything twice
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: twice\r\nConnection: Upgrade\r\n\r\n')
  socket.on('data', data => socket.write(data.toString() + data.toString()))
  socket.on('error', () => {})
})
server.listen(Number(process.argv[2]), '127.0.0.1')
