// The demo page of the Go package: htmx with its extension for Server-Sent Events.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Hub } from './hub.mjs';
import { Proxy } from './proxy.mjs';
import { Tab, launch, require } from './browser.mjs';

const PAGE = `<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script src="/htmx.js"></script>
<script src="/sse.js"></script>
<div hx-ext="sse" sse-connect="/event?event=event1&event=event2&event=">
  <p id="first" sse-swap="event1"></p>
  <p id="second" sse-swap="event2"></p>
  <p id="general" sse-swap="message"></p>
</div>
<div hx-ext="sse" sse-connect="/event"><p id="alone" sse-swap="message"></p></div>`;

let hub, proxy, browser, tab;
before(async () => {
  browser = await launch();
  hub = await Hub.start(['event1', 'event2']);
  const files = {
    '/demo': ['text/html', PAGE],
    '/htmx.js': ['text/javascript', await readFile(require.resolve('htmx.org/dist/htmx.min.js'))],
    '/sse.js': ['text/javascript', await readFile(require.resolve('htmx-ext-sse/dist/sse.min.js'))],
  };
  proxy = await Proxy.start(hub);
  proxy.answer = ({ pathname }) => files[pathname] && [200, ...files[pathname]];
  tab = await Tab.open(browser, proxy.url + '/demo');
});
after(async () => {
  await browser?.close();
  proxy?.stop();
  await hub?.kill();
});

test('htmx swaps in each event where it belongs', async () => {
  const { page } = tab;
  await page.waitForLoadState();
  const texts = async () => Promise.all(['first', 'second', 'general', 'alone'].map(id => page.locator('#' + id).innerText()));
  // Both streams are there.
  await tab.until('body', async () => (await (await fetch(hub.url + '/stats')).json()).streams === 2, 'both streams');
  await hub.publish({ event: 'event1', data: '<b>one</b>' });
  await hub.publish({ event: 'event2', data: 'two\nlines' });
  await hub.publish({ event: '', data: 'to all' });
  await tab.until('#alone', text => text === 'to all');
  await tab.until('#general', text => text === 'to all');
  assert.deepEqual(await texts(), ['one', 'two lines', 'to all', 'to all']);
  await hub.publish({ event: 'event1', data: 'one again' });
  await tab.until('#first', text => text === 'one again');
  assert.deepEqual(await texts(), ['one again', 'two lines', 'to all', 'to all']);
  assert.deepEqual([await tab.trouble(), tab.failures], [[], []]);
});
