// A server of event streams on Node's own `http`, as a puppet (see ../README.md): node events_server.mjs
// GET /PATH: the first time a stream, the second time another that says what came as Last-Event-ID, then 204.
import { createServer } from 'node:http'

const say = (event, ...words) => process.stdout.write([event, ...words].join(' ') + '\n')
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds))
const visits = new Map()

const server = createServer(async (request, response) => {
  const visit = (visits.get(request.url) ?? 0) + 1
  visits.set(request.url, visit)
  if (visit > 2) return response.writeHead(204).end()
  // Until the connection closes, where it is not in chunks.
  if (request.url === '/until-close') {
    response.useChunkedEncodingByDefault = false
    response.setHeader('Connection', 'close')
  }
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' })
  response.flushHeaders()
  if (visit === 2) {
    return response.end(`event: resumed\ndata: ${request.headers['last-event-id'] ?? 'nothing'}\n\n`)
  }
  for (const piece of [': hello\n\nretry: 50\n', 'id: 1\ndata: one\n\n', 'event: two\nid: 2\ndata: a', ' b\ndata:c\n\n', 'data: lost']) {
    response.write(piece)
    await sleep(10)
  }
  response.end()
})
server.listen(0, '127.0.0.1', () => say('listening', server.address().port))
process.stdin.on('close', () => process.exit(0)).resume()
