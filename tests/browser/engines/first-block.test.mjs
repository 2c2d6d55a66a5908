// A stream's first block, as the three engines take it: the page's position, before any event. Firefox and
// WebKit note it only from an event with data.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { Hub, eventually } from '../hub.mjs';
import { Proxy } from '../proxy.mjs';
import { engines, start } from '../engines.mjs';

// What any page may do: nothing but to listen.
const PAGE = `<!doctype html><link rel="icon" href="data:,"><ol></ol><script>
  const events = new EventSource('/event?event=news')
  const note = ({type, data, lastEventId}) => {
    const item = document.querySelector('ol').appendChild(document.createElement('li'))
    item.textContent = type === 'stream-gap' ? type : data
    item.title = lastEventId
  }
  events.onmessage = note
  events.addEventListener('news', note)
  events.addEventListener('stream-gap', note)
</script>`;
const FLAGS = ['--retry', '500ms'];

for (const engine of engines) describe(engine, () => {
  let hub, proxy, window;
  before(async () => window = await start(engine));
  after(() => window?.close());
  beforeEach(async () => {
    hub = await Hub.start(['news'], FLAGS);
    proxy = await Proxy.start(hub);
    proxy.answer = ({ pathname }) => pathname === '/page' && [200, 'text/html', PAGE];
    await window.go(proxy.url + '/page');
    await connected(1);
  });
  afterEach(async () => {
    await window.go('about:blank');
    proxy.stop();
    await hub.kill();
  });

  const publish = async (...texts) => {
    for (const data of texts) await hub.publish({ event: 'news', data });
  };
  const connected = times => eventually(`${times} connections`, () => proxy.opened === times);
  const shown = () => window.evaluate(() => [...document.querySelectorAll('li')].map(item => item.textContent));
  /** Waits for the last one: all that there is has come then. */
  const shows = async (...expected) => {
    const last = expected.at(-1);
    await window.until(`the event ${last}`, last => document.querySelector('li:last-child')?.textContent === last, last);
    assert.deepEqual(await shown(), expected);
  };
  /** Cuts the connection, and does something before the page is back. */
  const without = async (act = () => {}) => {
    const before = proxy.opened;
    proxy.refusing = true;
    proxy.cut();
    await act();
    proxy.refusing = false;
    await connected(before + 1);
  };

  test('cut before the first event: nothing is lost', async () => {
    await without(() => publish('1', '2', '3'));
    await publish('4');
    await shows('1', '2', '3', '4');
  });

  test('one restart is one gap, however often the connection is cut before the next event', async () => {
    await publish('1');
    await shows('1');
    await without(async () => {
      await hub.kill();
      hub = proxy.hub = await Hub.start(['news'], FLAGS);
    });
    for (let cut = 0; cut < 3; cut++) await without();
    await publish('2');
    await shows('1', 'stream-gap', '2');
  });

  test('cut in the midst of events: none is lost, invented or shown twice', async () => {
    const texts = Array.from({ length: 12 }, (_, at) => `text ${at}`);
    proxy.cuts = [90, 110, 140, 170, 200, 230];
    await without();
    await publish(...texts);
    await shows(...texts);
    assert.deepEqual(proxy.cuts, []);
  });
});
