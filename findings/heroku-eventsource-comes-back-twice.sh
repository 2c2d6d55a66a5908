#!/usr/bin/env bash
# npm @heroku/eventsource 1.0.7 on Node 20.20.2: when its connection is reset, and not closed in order, it comes
# back twice, with the same Last-Event-ID, and keeps both connections. From then on its user has each event twice.
# eventsource 2.0.2, from which it was forked, comes back once. By the HTML standard (9.2.3) a user agent that
# reestablishes the connection has one.
#
# A server answers with an event every 50 ms, and resets the first connection after three of them.
#
# Seen:
#   @heroku/eventsource: 3 requests, with the ids none 3 3; events that came twice: yes
#   eventsource: 2 requests, with the ids none 3; events that came twice: no
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --ignore-scripts --no-audit --no-fund @heroku/eventsource@1.0.7 eventsource@2.0.2
cat >look.js <<'JS'
const { createServer } = require('node:http')
const [, , name] = process.argv
const EventSource = require(name)

const asked = []
const numbers = []
let newest = 0
const open = new Set()
const server = createServer((request, response) => {
  asked.push(request.headers['last-event-id'] ?? 'none')
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write('retry: 100\n\n')
  open.add(response)
  response.on('close', () => open.delete(response))
})
const publish = setInterval(() => {
  if (open.size === 0 || newest === 20) return
  newest += 1
  for (const response of open) response.write(`id: ${newest}\ndata: ${newest}\n\n`)
}, 50)
server.listen(0, '127.0.0.1', () => {
  const source = new EventSource(`http://127.0.0.1:${server.address().port}/`)
  source.onerror = () => {}
  source.onmessage = ({ data }) => {
    numbers.push(data)
    if (data === '3' && asked.length === 1) for (const { socket } of open) socket.resetAndDestroy()
    if (data !== '20') return
    clearInterval(publish)
    // What comes twice comes at once.
    setTimeout(() => {
      const twice = new Set(numbers).size < numbers.length ? 'yes' : 'no'
      console.log(`${name}: ${asked.length} requests, with the ids ${asked.join(' ')}; events that came twice: ${twice}`)
      process.exit()
    }, 300)
  }
})
JS
for name in @heroku/eventsource eventsource; do
    timeout 30 node look.js "$name"
done | tee seen
diff seen - <<'END'
@heroku/eventsource: 3 requests, with the ids none 3 3; events that came twice: yes
eventsource: 2 requests, with the ids none 3; events that came twice: no
END
