// What engines differ in: how streams are resumed and closed, what an error is called, what CSS they know.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { Hub, eventually } from '../hub.mjs';
import { Proxy } from '../proxy.mjs';
import { engines, start } from '../engines.mjs';

const TYPES = ['news'];
const FLAGS = ['--retry', '500ms'];

for (const engine of engines) describe(engine, () => {
  let hub, proxy, window;
  before(async () => window = await start(engine));
  after(() => window?.close());
  beforeEach(async () => {
    hub = await Hub.start(TYPES, FLAGS);
    proxy = await Proxy.start(hub);
  });
  afterEach(async () => {
    // It leaves the page first, which may use all connections there are.
    await window.go('about:blank');
    proxy.stop();
    await hub.kill();
  });

  const publish = async (from, to) => {
    for (let number = from; number <= to; number++) await hub.publish({ event: 'news', data: number });
  };
  /** Waits until exactly these numbers are shown, in their order. */
  const shows = (from, to) => window.until(`the events ${from} to ${to}`, (from, to) => {
    const rows = [...document.querySelectorAll('#events li')].filter(row => row.querySelector('b')?.textContent === 'news');
    const numbers = rows.reverse().map(row => Number(row.querySelector('pre').textContent));
    return numbers.length === to - from + 1 && numbers.every((number, at) => number === from + at);
  }, from, to);
  const text = id => window.evaluate(id => document.getElementById(id).textContent, id);
  /** Opens the page with times shorter than its own, which its policy would not let a script set. */
  const hurried = async times => {
    const page = await (await fetch(hub.url, { headers: { Accept: 'text/html' } })).text();
    const begin = page.replace('<script>', `<script>window.times = ${JSON.stringify(times)}</script><script>`);
    proxy.answer = ({ pathname }) => pathname === '/' && [200, 'text/html', begin];
    await window.go(proxy.url);
    await window.says('#state', 'Open');
  };

  test('the page shows what is published, and publishes', async () => {
    await window.go(hub.url);
    await window.says('#state', 'Open');
    await publish(1, 2);
    await shows(1, 2);
    await window.evaluate(() => {
      document.querySelector('#event').value = 'news';
      document.querySelector('#data').value = '3';
      document.querySelector('#publish button').click();
    });
    await window.says('#sent', 'Accepted');
    await shows(1, 3);
    const cut = await window.evaluate(() => getComputedStyle(document.querySelector('#last-id')).overflowX);
    assert.equal(cut, 'clip');
  });

  test('a restart of the server is a gap, told once', async () => {
    await window.go(hub.url);
    await window.says('#state', 'Open');
    await publish(1, 3);
    await shows(1, 3);
    await hub.kill();
    hub = await Hub.start(TYPES, FLAGS, hub.port);
    await window.says('#gaps', '1');
    await window.says('#state', 'Open');
    await publish(4, 5);
    await shows(1, 5);
    assert.equal(await text('gaps'), '1');
  });

  test('a stream that is closed for good goes on with its last id', async () => {
    await window.go(proxy.url);
    await window.says('#state', 'Open');
    await publish(1, 3);
    await shows(1, 3);
    const lastId = await text('last-id');
    proxy.answer = ({ pathname }) => pathname === '/event' && 502;
    proxy.cut();
    await window.says('#state', 'Closed by the server or a proxy');
    await publish(4, 6);
    proxy.answer = () => undefined;
    await shows(1, 6);
    const { parameters, lastId: header } = proxy.streams.at(-1);
    assert.deepEqual([parameters.get('last_event_id'), header], [lastId, undefined]);
  });

  test('a network that has gone is told, and another connection opened', async () => {
    await hurried({ POLL: 200, TIMEOUT: 300, SILENCE: 3000 });
    await publish(1, 3);
    await shows(1, 3);
    const lastId = await text('last-id');
    proxy.stall();
    await window.until('it is amber', () => {
      const { textContent, dataset } = document.querySelector('#state');
      return textContent === 'The server does not answer' && dataset.state === 'wait';
    });
    await window.says('#stats-state', 'No answer. Too many tabs?');
    await publish(4, 6);
    await eventually('another connection', () => proxy.streams.length >= 2);
    proxy.flow();
    await shows(1, 6);
    assert.equal(proxy.streams.at(-1).parameters.get('last_event_id'), lastId);
  });

  test('a page beside five others says why nothing is answered', async () => {
    await hurried({ TIMEOUT: 500 });
    await window.evaluate(() => {
      window.others = Array.from({ length: 5 }, () => new EventSource('event'));
    });
    await window.says('#stats-state', 'No answer. Too many tabs?');
    await window.evaluate(() => window.others.forEach(other => other.close()));
    await window.until('an answer', () => document.querySelector('#stats-state').textContent === '');
  });

  test('a hidden page gives its stream up, and goes on when it is shown', async () => {
    await hurried({ HIDDEN: 1000 });
    await publish(1, 3);
    await shows(1, 3);
    const hide = hidden => window.evaluate(hidden => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    await window.says('#state', 'Disconnected while hidden');
    await publish(4, 6);
    await hide(false);
    await shows(1, 6);
  });
});
