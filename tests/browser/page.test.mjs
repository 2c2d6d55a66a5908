// What somebody does with the live page while nothing goes wrong.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { after, before, beforeEach, afterEach, test } from 'node:test';
import { promisify } from 'node:util';
import { Hub, eventually } from './hub.mjs';
import { Tab, launch } from './browser.mjs';

const shell = promisify(execFile);
const HOSTILE_TYPE = `<img src=x onerror=alert(1)> & "quotes' $HOME`;

let hub, browser, tab;
before(async () => {
  browser = await launch();
  hub = await Hub.start(['news', 'weather', HOSTILE_TYPE]);
});
after(async () => {
  await browser?.close();
  await hub?.kill();
});
beforeEach(async () => {
  tab = await Tab.open(browser, hub.url);
  await tab.state('Open');
});
afterEach(async () => {
  assert.deepEqual([await tab.close(), tab.failures], [[], []]);
});

test('the page comes with a policy that lets nothing else run', async () => {
  const policy = tab.response.headers()['content-security-policy'];
  assert.match(policy, /^default-src 'none'; script-src 'sha256-[^;]+'; style-src 'sha256-[^;]+'; connect-src 'self'; /);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  const refused = await tab.page.evaluate(() => {
    try {
      document.body.innerHTML = '<p>markup';
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(refused, 'TypeError', 'no text becomes markup');
  // That was this test's own doing.
  await tab.page.evaluate(() => setTimeout(() => violations.length = 0));
  tab.problems.length = 0;
});

test('what curl publishes appears with its type, id and lines, the newest first', async () => {
  await hub.publish({ event: 'news', data: 'one\n\ttwo\r\nthree\n' });
  await hub.publish({ event: '', data: '', id: 'my-id-~' });
  await hub.publish({ event: HOSTILE_TYPE, data: '  spaces  ' });
  await tab.shows(undefined, ['one\n\ttwo\nthree\n', '', '  spaces  ']);
  const events = await tab.events();
  assert.deepEqual(events.map(({ type }) => type), ['news', 'message', HOSTILE_TYPE]);
  assert.match(events[0].id, /^\w{13}-1$/);
  assert.equal(events[1].id, 'my-id-~');
  assert.equal(await tab.page.locator('#events li b').first().innerText(), HOSTILE_TYPE);
  assert.equal(await tab.page.locator('#events pre').last().innerText(), events[0].data, 'as it is laid out');
  await tab.until('#last-id', text => text === events[2].id);
  await tab.until('#received', text => text === '3');
  await tab.until('#published', text => text === '3');
});

test('the form publishes, and says why where it cannot', async () => {
  const { page } = tab;
  const data = '<b>not bold</b> & "quotes"\n+%20=\n';
  await page.selectOption('#event', HOSTILE_TYPE);
  await page.fill('#data', data);
  await page.fill('#id', 'form 1');
  await page.click('#publish button');
  await tab.until('#sent', text => text.startsWith('Accepted'));
  await tab.shows(HOSTILE_TYPE, [data]);
  assert.equal((await tab.events())[0].id, 'form 1');
  await page.fill('#retry', 'soon');
  await page.click('#publish button');
  await tab.until('#sent', text => text.includes('retry is a number of milliseconds'));
  assert.equal((await tab.events()).length, 1);
  // The browser writes a line for it, which is right.
  assert.equal(tab.failures.splice(0).length, 1);
});

test('all can be done by keyboard', async () => {
  const { keyboard } = tab.page;
  const focus = () => tab.page.evaluate(() => {
    const { activeElement: at, body } = document;
    if (at !== body && getComputedStyle(at).outlineStyle === 'none') throw new Error('the focus is not seen on ' + at.outerHTML);
    return at.id || at.value || at.textContent;
  });
  const walked = [];
  const go = async (to, key = 'Tab') => {
    for (let at = await focus(); at !== to; at = await focus()) {
      assert.ok(walked.length < 60, `${to} is not reached: ${walked}`);
      walked.push(at);
      await keyboard.press(key);
    }
  };
  await go('*');
  await keyboard.press('Space');
  await go('news');
  await keyboard.press('Space');
  await tab.state('Open');
  await go('event');
  await keyboard.type('news');
  await go('data');
  await keyboard.type('typed');
  await keyboard.press('Control+Enter');
  await tab.shows('news', ['typed']);
  await go('Publish');
  await keyboard.press('Enter');
  await tab.shows('news', ['typed', 'typed']);
  await go('filter', 'Shift+Tab');
  await keyboard.type('nothing has this');
  await tab.shows(undefined, []);
  await go('pause');
  await keyboard.press('Space');
  await tab.until('#shown', text => text.startsWith('paused'));
  await go('events');
  const spoken = await tab.page.evaluate(() => [...document.querySelectorAll('[aria-live], [role=status], [role=log], [role=alert], output')].map(({ id }) => id));
  assert.deepEqual(spoken, ['state', 'sent'], 'events are not read out as they come');
});

test('only the types that are chosen are shown, without a break in them', async () => {
  const { page } = tab;
  await hub.publish({ event: 'news', data: '1' });
  await hub.publish({ event: 'weather', data: 'sun' });
  await tab.shows(undefined, ['1', 'sun']);
  const choose = name => page.getByRole('checkbox', { name }).click();
  await choose('All types');
  await tab.state('No event type chosen');
  await hub.publish({ event: 'news', data: '2' });
  await hub.publish({ event: 'weather', data: 'rain' });
  await choose('news');
  await tab.state('Open');
  await hub.publish({ event: 'news', data: '3' });
  await tab.shows(undefined, ['1', 'sun', '2', '3']);
  await choose(HOSTILE_TYPE);
  await tab.state('Open');
  await hub.publish({ event: HOSTILE_TYPE, data: 'x' });
  await hub.publish({ event: 'news', data: '4' });
  await tab.shows(undefined, ['1', 'sun', '2', '3', 'x', '4']);
  await tab.until('#types', text => /4 received, 1 listening/.test(text));
  assert.equal(await page.locator('#reconnects').innerText(), '0', 'another choice is no loss');
});

test('pause, filter and clear', async () => {
  const { page } = tab;
  for (const data of ['apple', 'Banana']) await hub.publish({ event: 'news', data });
  await tab.shows('news', ['apple', 'Banana']);
  await page.click('#pause');
  await hub.publish({ event: 'news', data: 'banana split' });
  await tab.until('#shown', text => text === 'paused, 1 new');
  await tab.shows('news', ['apple', 'Banana']);
  await page.fill('#filter', 'BANANA');
  await tab.shows('news', ['Banana']);
  await page.click('#pause');
  await tab.shows('news', ['Banana', 'banana split']);
  await hub.publish({ event: 'weather', data: 'cold' });
  await tab.until('#shown', text => text === '2 of 4 shown');
  await page.fill('#filter', '');
  await tab.shows(undefined, ['apple', 'Banana', 'banana split', 'cold']);
  await page.click('#clear');
  await tab.shows(undefined, []);
  await hub.publish({ event: 'news', data: 'next' });
  await tab.shows(undefined, ['next']);
});

test('the lines for curl do what they say', async () => {
  const { page } = tab;
  const line = name => page.locator('#curl-' + name).innerText();
  const listen = async line => {
    const curl = spawn('sh', ['-c', 'exec ' + line.replace('curl', 'curl --silent')]);
    const listener = { got: '', end: () => curl.kill() };
    curl.stdout.on('data', bytes => listener.got += bytes);
    await eventually('curl listens', () => listener.got.includes('retry: '));
    return listener;
  };
  const data = "it's 100% \\ $HOME `id` !\n@second &\n";
  await page.getByRole('checkbox', { name: 'All types' }).click();
  await page.getByRole('checkbox', { name: HOSTILE_TYPE }).click();
  await tab.state('Open');
  await page.selectOption('#event', HOSTILE_TYPE);
  await page.fill('#data', data);
  await page.fill('#id', "it's");
  const listener = await listen(await line('listen'));
  await shell('sh', ['-c', (await line('publish')).replace('curl', 'curl --fail')]);
  await tab.shows(undefined, [data]);
  assert.equal((await tab.events())[0].type, HOSTILE_TYPE);
  await tab.until('#curl-resume', text => text.includes('last_event_id=it%27s'));
  const resume = await line('resume');
  await hub.publish({ event: 'news', data: 'not chosen' });
  await hub.publish({ event: HOSTILE_TYPE, data: 'missed' });
  await eventually('the missed one', () => listener.got.includes('data: missed'));
  const resumed = await listen(resume);
  await eventually('the missed one', () => resumed.got.includes('data: missed'));
  assert.ok(listener.got.includes('data: @second') && !listener.got.includes('not chosen'), listener.got);
  assert.ok(!resumed.got.includes('data: @second') && !resumed.got.includes('not chosen'), resumed.got);
  listener.end();
  resumed.end();
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.evaluate(() => window.board = navigator.clipboard);
  for (const [name, button] of [['listen', 'Copy: Listen'], ['publish', 'Copy: Publish']]) {
    await page.getByRole('button', { name: button }).click();
    const copied = async () => await page.evaluate(() => board.readText()) === await line(name);
    await eventually('it is on the clipboard', copied);
    // Over plain HTTP from another machine there is none; the other way has to do.
    await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  }
});

test('a long text in the form is published and copied whole, and costs no time at each key', async () => {
  const { page } = tab;
  const text = 'it\'s long '.repeat(50000);
  await page.evaluate(text => {
    document.querySelector('#data').value = text;
    // The last of them is without the browser's own work for so long a text.
    const times = Array.from({ length: 7 }, () => {
      const start = performance.now();
      document.querySelector('#data').dispatchEvent(new Event('input', { bubbles: true }));
      document.querySelector('#curl').getBoundingClientRect();
      return performance.now() - start;
    });
    window.slow = Math.min(...times);
  }, text);
  const slow = await page.evaluate(() => slow);
  assert.ok(slow < 50, `a key takes ${slow} ms`);
  const shown = await page.locator('#curl-publish').textContent();
  assert.ok(shown.length < 6000 && shown.endsWith("…'"), shown.length);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.evaluate(() => window.board = navigator.clipboard);
  for (const way of ['by the clipboard', 'by a selection']) {
    await page.evaluate(() => board.writeText(''));
    await page.getByRole('button', { name: 'Copy: Publish' }).click();
    let copied;
    await eventually('it is copied', async () => copied = await page.evaluate(() => board.readText()));
    assert.ok(copied.endsWith(`--data-urlencode 'data=${text.replaceAll("'", "'\\''")}'`), `${way}: ${copied.length} characters`);
    await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  }
  assert.equal(await page.locator('#curl-publish').textContent(), shown, 'it is cut again');
  await page.click('#publish button');
  await tab.until('#sent', text => text.startsWith('Accepted'));
  await eventually('it is there', async () => (await tab.events()).length);
  await page.getByRole('button', { name: 'Show all' }).click();
  assert.ok(await page.locator('#events pre').first().textContent() === text);
});

test('one event is one event', async () => {
  await hub.publish({ event: 'news', data: '1' });
  await tab.until('#rate', text => text === '1 event/s, at most 1');
  await tab.until('#rate', text => text === '0 events/s, at most 1');
});

test('a burst of 10,000 events is counted, and the last 500 are kept', async () => {
  // Less than what waits for a client that is slow, as a browser on a busy machine is.
  const total = 10000;
  await hub.burst('news', total);
  await tab.until('#received', text => text === total.toLocaleString('en'));
  await tab.shows(undefined, Array.from({ length: 500 }, (_, at) => String(total - 499 + at)));
  await tab.until('#rate', text => /at most [\d,]{3,}/.test(text));
});
