// Event-stream clients as puppets (see ../README.md): node events.mjs eventsource|eventsource-parser URL TYPE...
// The types are those to listen for: `eventsource` has no way to take them all.
import { EventSource } from 'eventsource'
import { createParser } from 'eventsource-parser'

const [library, url, ...types] = process.argv.slice(2)

const say = (event, ...words) => process.stdout.write([event, ...words].join(' ') + '\n')
const hex = (text) => Buffer.from(text).toString('hex') || '-'

// Reconnects by itself, as browsers do, and stops at a 204.
function eventSource() {
  const source = new EventSource(url)
  source.onopen = () => say('open')
  source.onerror = (error) => {
    if (source.readyState === EventSource.CLOSED) {
      say('over', error.code ?? 'none')
      process.exit(0)
    }
    say('lost')
  }
  for (const type of types) {
    source.addEventListener(type, (event) => say('event', hex(event.type), hex(event.lastEventId), hex(event.data)))
  }
}

// Only parses: whoever uses it fetches, and comes back.
async function parser() {
  let last = ''
  for (;;) {
    const response = await fetch(url, { headers: { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) } })
    if (response.status !== 200) return say('over', response.status)
    say('open')
    const parser = createParser({
      onEvent(event) {
        last = event.id ?? last
        say('event', hex(event.event || 'message'), hex(last), hex(event.data))
      },
    })
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) parser.feed(text)
    say('lost')
  }
}

if (library === 'eventsource') eventSource()
else await parser()
