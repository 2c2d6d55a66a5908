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
const enter = async token => {
  await tab.page.fill('#token', token);
  await tab.page.press('#token', 'Enter');
};

test('it asks for the token, and for another one to publish', async () => {
  await open('');
  await tab.state('A token is needed');
  await enter('wrong');
  await tab.state('The token is not accepted');
  await enter(TOKEN);
  await tab.state('Open');
  assert.ok(await tab.page.locator('#token-form').isHidden());
  await tab.page.fill('#data', 'allowed');
  await tab.page.press('#data', 'Control+Enter');
  await tab.until('#token-for', text => text === 'The server asks for a token to publish');
  await tab.state('Open');
  await enter(PUBLISH);
  await tab.shows('message', ['allowed']);
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
