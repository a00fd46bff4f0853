#!/usr/bin/env node
// An echo on npm's ws: permessage-deflate with context takeover both ways, for messages of any length, at this level, and otherwise as ws is
// by default. Its optional native module, `bufferutil`, is left out.
'use strict';

const { WebSocketServer } = require('ws');

const options = {};
for (let at = 2; at + 1 < process.argv.length; at += 2) options[process.argv[at]] = Number(process.argv[at + 1]);
const level = options['--level'] ?? 6;

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: options['--port'],
  perMessageDeflate: { threshold: 0, zlibDeflateOptions: { level } },
});
server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});
