// The page of a server that asks for tokens.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Hub } from './hub.mjs';
import { Tab, launch } from './browser.mjs';

const TOKEN = 'li-st.en+~/0=', PUBLISH = 'pub/lish', WEATHER = 'rain';

let hub, browser, tab;
before(async () => {
  const tokens = ['--subscribe-token', TOKEN, '--subscribe-token', `weather=${WEATHER}`, '--publish-token', PUBLISH];
  browser = await launch();
  hub = await Hub.start(['weather', 'news'], tokens);
});
after(async () => {
  await browser?.close();
  await hub?.kill();
});
afterEach(async () => {
  const text = await tab.page.evaluate(() => document.documentElement.innerHTML);
  for (const token of [TOKEN, PUBLISH, WEATHER]) assert.ok(!text.includes(token), 'no token is on the screen');
  assert.deepEqual(await tab.close(), []);
});

const open = async fragment => tab = await Tab.open(browser, hub.url + '/' + fragment);
const focus = () => tab.page.evaluate(() => document.activeElement.id);
const help = beginning => tab.until('#token-help', text => text.startsWith(beginning));
const enter = async token => {
  await tab.page.fill('#token', token);
  await tab.page.press('#token', 'Enter');
};

test('it asks for the token, and for another one to publish', async () => {
  await open('');
  await tab.state('A token is needed');
  await help('It is one that the server was started with: --subscribe-token.');
  assert.equal(await focus(), 'token');
  // The last one cannot be sent at all.
  for (const wrong of ['wrong', 'wrøng', 'не то']) {
    await enter(wrong);
    await tab.state('The token is not accepted');
    await help('The token is not accepted. Give another.');
    assert.equal(await tab.page.locator('#stats-state').innerText(), '');
    assert.equal(await focus(), 'token');
  }
  await enter(` ${TOKEN} `);
  await tab.state('Open');
  assert.ok(await tab.page.locator('#token-form').isHidden());
  await tab.page.fill('#data', 'allowed');
  await tab.page.press('#data', 'Control+Enter');
  await tab.until('#token-for', text => text === 'The server asks for a token to publish');
  await tab.until('#sent', text => text === 'A token to publish is needed');
  await help('It is one that the server was started with: --publish-token.');
  await tab.state('Open');
  assert.equal(await focus(), 'token');
  for (const wrong of ['wrong', 'wrøng']) {
    await enter(wrong);
    await tab.until('#sent', text => text === 'The token is not accepted');
    await help('The token is not accepted. Give another.');
    assert.equal(await focus(), 'token');
  }
  await enter(PUBLISH);
  await tab.shows('message', ['allowed']);
  assert.equal(await focus(), 'data');
  assert.ok(await tab.page.locator('#token-form').isHidden());
  for (const line of ['listen', 'publish']) {
    await tab.until('#curl-' + line, text => text.includes(' -H "Authorization: Bearer $TOKEN" '));
  }
});

test('it takes the token from the fragment, which no request shows', async () => {
  const asked = [];
  await open('#token=' + encodeURIComponent(TOKEN));
  tab.page.on('request', request => asked.push(request.url()));
  await tab.state('Open');
  await hub.publish({ event: 'news', data: 'x' }, PUBLISH);
  await tab.shows('news', ['x']);
  assert.deepEqual(tab.failures, []);
  assert.ok(!asked.some(url => url.includes('#')));
});

test('a token for one type is good for that type, named in the fragment', async () => {
  await open(`#token=${WEATHER}&event=weather`);
  await tab.state('Open');
  await hub.publish({ event: 'news', data: 'not for this one' }, PUBLISH);
  await hub.publish({ event: 'weather', data: 'sun' }, PUBLISH);
  await tab.shows(undefined, ['sun']);
});

test('a token for one type alone: it says how to name that type', async () => {
  await open(`#token=${WEATHER}`);
  await tab.state('The token is not for all event types');
  await help('The token is not for all event types. Name its types in the address, such as #event=news');
  await tab.page.evaluate(token => location.hash = `token=${token}&event=weather`, WEATHER);
  await tab.state('Open');
  await hub.publish({ event: 'weather', data: 'sun' }, PUBLISH);
  await tab.shows(undefined, ['sun']);
});

test('a token that cannot be sent, in the fragment, is not accepted either', async () => {
  await open('#token=' + encodeURIComponent('не то'));
  await tab.state('The token is not accepted');
  await enter(TOKEN);
  await tab.state('Open');
});
