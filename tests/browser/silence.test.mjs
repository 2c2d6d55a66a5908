// A page whose network has gone says so and comes back; one that nobody looks at makes room for others.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from './hub.mjs';
import { Tab } from './browser.mjs';
import { browser, hub, numbers, open, proxy, publish, tab } from './proxied.mjs';

/** With shorter times than the page's own. */
const hasty = times => ({ init: times => window.times = times, argument: times });

test('a network that has gone is told, and another connection opened', async () => {
  await open('', hasty({ POLL: 200, TIMEOUT: 300, SILENCE: 3000 }));
  await tab.state('Open');
  await publish(numbers(1, 3));
  await tab.shows('news', numbers(1, 3));
  const lastId = (await tab.events()).at(-1).id;
  proxy.stall();
  await tab.page.waitForFunction(() => {
    const { textContent, dataset } = document.querySelector('#state');
    return textContent === 'The server does not answer' && dataset.state === 'wait';
  });
  await publish(numbers(4, 6));
  await eventually('another connection', () => proxy.streams.length === 2);
  assert.equal(proxy.streams.at(-1).parameters.get('last_event_id'), lastId);
  // One that has no answer either is given up in its turn.
  await tab.state('The server does not answer. Next attempt');
  proxy.flow();
  await tab.state('Open');
  assert.equal(proxy.streams.at(-1).parameters.get('last_event_id'), lastId);
  await publish(['7']);
  await tab.shows('news', numbers(1, 7));
  assert.equal(await tab.page.locator('#reconnects').innerText(), '1');
});

test('a network that is back before that goes on with the same connection', async () => {
  await open('', hasty({ POLL: 200, TIMEOUT: 300 }));
  await tab.state('Open');
  proxy.stall();
  await tab.state('The server does not answer');
  proxy.flow();
  await tab.state('Open');
  assert.equal(proxy.streams.length, 1);
});

test('an answer that WebKit gives up is told as others tell it', async () => {
  const init = times => {
    window.times = times;
    AbortSignal.timeout = time => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), time);
      return controller.signal;
    };
  };
  await open('', { init, argument: { POLL: 200, TIMEOUT: 300 } });
  await tab.state('Open');
  proxy.stall();
  await tab.until('#stats-state', text => text.includes('Too many tabs?'));
});

const hide = tab => tab.page.evaluate(() => setHidden(true));
const show = tab => tab.page.evaluate(() => setHidden(false));
/** A tab in front of which another one may be. */
const hideable = (hidden, times) => ({
  argument: [hidden, times],
  init: ([hidden, times]) => {
    window.times = times;
    Object.defineProperty(document, 'hidden', { get: () => hidden });
    window.setHidden = is => {
      hidden = is;
      document.dispatchEvent(new Event('visibilitychange'));
    };
  },
});

test('a hidden tab gives its stream up, and goes on when it is shown', async () => {
  await open('', hideable(false, { HIDDEN: 1000 }));
  await tab.state('Open');
  await publish(numbers(1, 3));
  await tab.shows('news', numbers(1, 3));
  await hide(tab);
  await tab.state('Disconnected while hidden');
  const streams = async () => (await (await fetch(hub.url + '/stats')).json()).streams;
  await eventually('the server has no stream', async () => await streams() === 0);
  await publish(numbers(4, 6));
  await tab.page.evaluate(() => dispatchEvent(new Event('online')));
  await show(tab);
  await tab.state('Open');
  await publish(['7']);
  await tab.shows('news', numbers(1, 7));
  assert.equal(proxy.streams.length, 2);
});

test('a tab that is shown again soon keeps its stream', async () => {
  await open('', hideable(false, { HIDDEN: 1000 }));
  await tab.state('Open');
  for (let time = 0; time < 3; time++) {
    await hide(tab);
    await show(tab);
  }
  await tab.page.waitForFunction(time => performance.now() > time, await tab.page.evaluate(() => performance.now() + 1500));
  await tab.state('Open');
  assert.equal(proxy.streams.length, 1);
});

test('a seventh tab opens when those behind it have given up their streams', async () => {
  await open('', hideable(true, { HIDDEN: 4000 }));
  const context = tab.page.context();
  const behind = { context, ...hideable(true, { HIDDEN: 4000 }) };
  const others = await Promise.all(Array.from({ length: 5 }, () => Tab.open(browser, proxy.url, behind)));
  // On a busy machine the first have given up their streams before the last have one.
  const hasBegun = text => /^(Open|Disconnected while hidden)/.test(text);
  await Promise.all([tab, ...others].map(tab => tab.until('#state', hasBegun, 'a stream')));
  const seventh = await Tab.open(browser, proxy.url, { context });
  await seventh.state('Open');
  await publish(['for it']);
  await seventh.shows('news', ['for it']);
});
