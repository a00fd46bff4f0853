// The receiver of npm's ws: a case per line in, an outcome per line out (see rust/src/case.rs). Takes ws from the folder that is its argument.
'use strict';

const crypto = require('crypto');
const path = require('path');
const readline = require('readline');

const lib = path.join(process.argv[2], 'node_modules', 'ws', 'lib');
const Receiver = require(path.join(lib, 'receiver.js'));
const PerMessageDeflate = require(path.join(lib, 'permessage-deflate.js'));
const { kStatusCode } = require(path.join(lib, 'constants.js'));

function digest(payload) {
  if (payload.length <= 32) return payload.toString('hex');
  return `#${payload.length}:${crypto.createHash('sha1').update(payload).digest('hex').slice(0, 16)}`;
}

function extensions(deflate, isServer, maxPayload) {
  if (deflate === '-') return {};
  const [serverNone, clientNone, serverBits, clientBits] = deflate.split(',').map(Number);
  const extension = new PerMessageDeflate({ isServer, maxPayload });
  // As `accept` leaves it.
  extension.params = { server_max_window_bits: serverBits, client_max_window_bits: clientBits };
  if (serverNone) extension.params.server_no_context_takeover = true;
  if (clientNone) extension.params.client_no_context_takeover = true;
  return { [PerMessageDeflate.extensionName]: extension };
}

// Resolves with the outcome once every piece was taken or the stream ended.
function run(line) {
  const [role, limit, fragments, deflate, cuts, hex] = line.split(' ');
  const data = Buffer.from(hex === '-' ? '' : hex, 'hex');
  const ends = cuts === '-' ? [] : cuts.split(',').map(Number);
  const isServer = role === 's';
  const agreed = extensions(deflate, isServer, Number(limit));
  const receiver = new Receiver({ isServer, maxPayload: Number(limit), maxFragments: Number(fragments), extensions: agreed });
  const events = [];
  return new Promise((resolve) => {
    let over = false;
    const end = (how) => {
      if (over) return;
      over = true;
      clearTimeout(patience);
      resolve(events.join('') + '| ' + how);
      for (const name of Object.keys(agreed)) agreed[name].cleanup();
    };
    receiver.on('message', (payload, binary) => over || events.push(`${binary ? 'b' : 't'}:${digest(payload)} `));
    receiver.on('ping', (payload) => over || events.push(`i:${digest(payload)} `));
    receiver.on('pong', (payload) => over || events.push(`o:${digest(payload)} `));
    receiver.on('conclude', (code, reason) => end(`peer ${code} ${digest(reason) || '='} -`));
    receiver.on('error', (error) => end(`fail ${error[kStatusCode] ?? '-'}`));
    // Where inflation never calls back, nothing more will come.
    const patience = setTimeout(() => end('crash: the receiver hangs'), 3000);
    let from = 0;
    const next = () => {
      if (over) return;
      if (ends.length === 0 && from === data.length) return end('open');
      const to = ends.length ? ends.shift() : data.length;
      // A copy: the receiver unmasks in place.
      const piece = Buffer.from(data.subarray(from, to));
      from = to;
      // `_write` calls back when all that can be read was read, asynchronous inflation included.
      receiver.write(piece, (error) => error || next());
    };
    next();
  });
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let outcome;
    try {
      outcome = await run(line);
    } catch (error) {
      outcome = `| crash ${error.name}`;
    }
    process.stdout.write(outcome + '\n');
  }
})();
