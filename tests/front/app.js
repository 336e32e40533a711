// A small shop on Redis, with Node's own http module. WEAK=1 plants two weaknesses.
'use strict'
const http = require('http')
const Redis = require('ioredis')

const weak = process.env.WEAK === '1'
const cache = new Redis(process.env.CACHE, {
  enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: 400, connectTimeout: 400,
  retryStrategy: () => 20,
})
cache.on('error', () => {}) // each command says it again

async function answer (request, response) {
  const [, what, key] = request.url.split('/')
  if (what === '') return response.end('up')
  if (what === 'items') return response.end(`item ${key}: ${await cache.get(`item:${key}`)}`)
  if (what === 'done') return response.end(await cache.get(`done:${key}`) || '0')
  if (what === 'orders') {
    const done = `done:${request.headers['idempotency-key']}`
    if (weak) await cache.incr(done) // whatever is asked again is done again
    else await cache.set(done, 1, 'NX')
    response.writeHead(201)
    return response.end(JSON.stringify({ ordered: true, note: 'x'.repeat(200) }))
  }
  response.writeHead(404)
  response.end()
}

http.createServer((request, response) => {
  answer(request, response).catch(() => {
    response.writeHead(weak ? 500 : 503, weak ? {} : { 'Retry-After': '5' })
    response.end('later')
  })
}).listen(Number(process.argv[2]), '127.0.0.1')
