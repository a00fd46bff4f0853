// npm `ws` as a puppet (see ../README.md): node ws.mjs server|client [DEFLATE]
import { createInterface } from 'node:readline'
import WebSocket, { WebSocketServer } from 'ws'

const LARGEST = 1 << 20
const [role, deflate = 'off'] = process.argv.slice(2)

const say = (event, ...words) => process.stdout.write([event, ...words].join(' ') + '\n')
const hex = (bytes) => (bytes.length ? Buffer.from(bytes).toString('hex') : '-')
const bytes = (word) => Buffer.from(word === '-' ? '' : word, 'hex')

// With `true`, messages of 1024 bytes and more are compressed, with a threshold of 0 all. A parameter that is `false` would be one that the other side
// must not ask for.
function compression() {
  const bits = /^bits-(\d+)$/.exec(deflate)
  if (deflate === 'off') return false
  if (deflate === 'default') return true
  if (deflate === 'takeover') return { threshold: 0 }
  if (deflate === 'no-takeover') return { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 }
  if (bits) return { serverMaxWindowBits: Number(bits[1]), clientMaxWindowBits: Number(bits[1]), threshold: 0 }
  throw new Error(`no such compression: ${deflate}`)
}

let current = null
// The kind of the message whose fragments are being sent.
let begun = false

function use(socket) {
  current = socket
  socket.on('message', (data, binary) => say(binary ? 'binary' : 'text', hex(data)))
  socket.on('ping', (data) => say('ping', hex(data)))
  socket.on('pong', (data) => say('pong', hex(data)))
  socket.on('error', (error) => say('failed', error.message.replaceAll(' ', '_')))
  socket.on('close', (code, reason) => say('closed', code, hex(reason)))
}

function open(socket) {
  // What was agreed has no public name.
  const params = socket._extensions['permessage-deflate']?.params
  say('open', params ? agreed(params) : '-')
}

const agreed = (params) =>
  ['server_no_context_takeover', 'client_no_context_takeover', 'server_max_window_bits', 'client_max_window_bits']
    .filter((name) => name in params)
    .map((name) => (name.endsWith('bits') ? `${name}=${params[name]}` : name))
    .join(';') || 'yes'

const commands = {
  connect(port) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: compression(), maxPayload: LARGEST })
    use(socket)
    socket.on('open', () => open(socket))
  },
  // Bytes and not a string, so that a text may be anything.
  text: (data) => current.send(bytes(data), { binary: false }),
  binary: (data) => current.send(bytes(data), { binary: true }),
  plain: (kind, data) => current.send(bytes(data), { binary: kind === 'binary', compress: false }),
  badtext: (data) => current.send(bytes(data), { binary: false }),
  begin(kind, data) {
    begun = kind === 'binary'
    current.send(bytes(data), { binary: begun, fin: false })
  },
  more: (data) => current.send(bytes(data), { binary: begun, fin: false }),
  end: (data) => current.send(bytes(data), { binary: begun, fin: true }),
  ping: (data) => current.ping(bytes(data)),
  pong: (data) => current.pong(bytes(data)),
  close: (code, reason) => (code ? current.close(Number(code), bytes(reason)) : current.close()),
}

if (role === 'server') {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: compression(), maxPayload: LARGEST })
  server.on('listening', () => say('listening', server.address().port))
  server.on('connection', (socket) => {
    use(socket)
    open(socket)
  })
} else {
  say('ready')
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [command, ...words] = line.split(' ')
    try {
      commands[command](...words)
    } catch (error) {
      say('failed', error.message.replaceAll(' ', '_'))
    }
  })
  .on('close', () => process.exit(0))
