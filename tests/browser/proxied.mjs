// A hub behind a proxy for each test, and a browser for all of them.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach } from 'node:test';
import { Hub } from './hub.mjs';
import { Proxy } from './proxy.mjs';
import { Tab, launch } from './browser.mjs';

export const TYPES = ['news', 'weather'];

export let hub, proxy, browser, tab;
before(async () => browser = await launch());
after(() => browser?.close());
beforeEach(async () => {
  await start(TYPES);
  proxy = await Proxy.start(hub);
});
afterEach(async () => {
  proxy.stop();
  await hub.kill();
  assert.deepEqual(await tab.close(), []);
});

/** Starts the hub, on any free port if it is the first. */
export const start = async (types, port, flags = []) => {
  hub = await Hub.start(types, ['--retry', '500ms', ...flags], port);
  if (proxy) proxy.hub = hub;
};
export const open = async (fragment = '', options = {}) =>
  tab = await Tab.open(browser, proxy.url + '/' + fragment, options);
export const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => String(from + at));
export const publish = async texts => {
  for (const data of texts) await hub.publish({ event: 'news', data });
};
