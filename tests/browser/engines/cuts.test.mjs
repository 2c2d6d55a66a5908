// A stream that is cut in the midst of events, again and again, while others publish. It is passed on as the bytes
// that it is, so that it can be cut within a chunk's size too.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Hub, eventually } from '../hub.mjs';
import { engines, start } from '../engines.mjs';

const PAGE = `<!doctype html><link rel="icon" href="data:,"><script>
  const rows = window.rows = []
  const events = window.events = new EventSource('/event?event=news')
  for (const type of ['message', 'news', 'stream-gap'])
    events.addEventListener(type, ({data}) => rows.push(type + ' ' + data))
</script>`;
/** What a stream that is cut ends with. The first digits of an id's number are an earlier event's. */
const PLACES = [/event: \w/g, /data: ./g, /id: \w+-\d/g, /(?<=\n\r\n)\w/g, /\n(?=\n)/g];
/** Twice each place in what is read fourth, third, second and first, and in the first block, by FIN and RST in turn.
 * The first read has what the page missed meanwhile; the others are live. */
const cuts = () => Array.from({ length: 100 }, (_, at) =>
  ({ place: PLACES[Math.floor(at / 10) % 5], reads: 4 - at % 5, reset: at % 2 === 1 }));

/** Answers with the page, or with the hub's stream up to where the next of the cuts is. */
function listen(hub, cuts) {
  return createServer(socket => socket.on('error', () => {}).once('data', question => {
    if (!String(question).startsWith('GET /event'))
      return socket.end('HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n' + PAGE);
    const onward = connect(hub.port, '127.0.0.1').setEncoding('latin1');
    onward.on('error', () => {}).on('close', () => socket.destroy()).write(question);
    socket.on('close', () => onward.destroy());
    const cut = cuts[0];
    let text = '', reads = 0;
    onward.on('data', more => {
      const passed = text.length;
      text += more;
      reads++;
      const found = cut && [...text.matchAll(cut.place)].at(cut.reads ? -1 : 0);
      if (!found || found.index < passed || reads < cut.reads) return socket.write(more, 'latin1');
      cuts.shift();
      onward.removeAllListeners().destroy();
      const rest = text.slice(passed, found.index + found[0].length);
      if (cut.reset) socket.write(rest, 'latin1', () => socket.resetAndDestroy());
      else socket.end(rest, 'latin1');
    });
  })).listen(0, '127.0.0.1');
}

for (const engine of engines) describe(engine, () => {
  let window;
  before(async () => window = await start(engine));
  after(() => window?.close());

  test('cut in the midst of 100 events: none is lost, invented or shown twice', async context => {
    const hub = await Hub.start(['news'], ['--retry', '50ms']);
    context.after(() => hub.kill());
    const left = cuts();
    const server = listen(hub, left);
    context.after(() => server.close());
    await once(server, 'listening');
    await window.go(`http://127.0.0.1:${server.address().port}/`);
    context.after(() => window.go('about:blank'));
    await window.until('it is open', () => window.events.readyState === EventSource.OPEN);
    const published = [];
    const publish = async () => {
      const text = `text ${published.length}`;
      await hub.publishBody('news', text);
      published.push('news ' + text);
    };
    // Firefox takes half a second at least to come back.
    await eventually('all cuts', async () => {
      await publish();
      return left.length === 0;
    }, 200);
    await publish();
    await window.until('the last event', last => window.rows.at(-1) === last, published.at(-1));
    const rows = await window.evaluate(() => window.rows);
    const lost = published.filter(row => !rows.includes(row));
    const odd = rows.filter((row, at) => !published.includes(row) || rows.indexOf(row) < at);
    assert.deepEqual(rows, published, `wrong, or not in order: ${JSON.stringify({ lost, odd })}`);
  });
});
