// The example `htmx`, by all three libraries: fragments by a broadcast stream, and by a response of its own.
import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { after, before, test } from 'node:test';
import { Example, eventually } from './hub.mjs';
import { Proxy } from './proxy.mjs';
import { Tab, launch, require } from './browser.mjs';

const SCRIPTS = {
  'htmx2.js': require.resolve('htmx.org/dist/htmx.min.js'),
  'htmx2-sse.js': require.resolve('htmx-ext-sse/dist/sse.min.js'),
  'htmx4.js': require.resolve('htmx4/dist/htmx.min.js'),
  'htmx4-sse.js': require.resolve('htmx4/dist/ext/hx-sse.min.js'),
  'datastar.js': process.env.DATASTAR,
};
const LIBRARIES = ['htmx2', 'htmx4', 'datastar'];

let folder, example, proxy, browser, tabs;
before(async () => {
  folder = await mkdtemp(tmpdir() + '/websse-scripts-');
  for (const [name, path] of Object.entries(SCRIPTS)) await copyFile(path, `${folder}/${name}`);
  example = await Example.start('htmx', 0, [], [folder]);
  proxy = await Proxy.start(example);
  browser = await launch();
  tabs = await Promise.all(LIBRARIES.map(name => Tab.open(browser, `${proxy.url}/${name}`, { init: watch })));
  await eventually('all listen', () => proxy.opened === LIBRARIES.length);
});
after(async () => {
  await browser?.close();
  proxy?.stop();
  await example?.kill();
  await rm(folder, { recursive: true });
});

/** Keeps, in the page, what the report is at any time, and what the library says of its end. */
function watch() {
  window.reports = [];
  window.ends = [];
  const isDone = () => performance.getEntriesByType('resource').some(({ name }) => new URL(name).pathname === '/report');
  const look = () => {
    const here = document.getElementById('here');
    const report = here?.querySelector('progress')?.value ?? here?.innerText;
    if (report !== undefined && report !== '' && report !== reports.at(-1)?.report) reports.push({ report, isDone: isDone() });
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
  document.addEventListener('htmx:sseClose', ({ detail }) => ends.push(detail.type));
  document.addEventListener('htmx:sse:close', ({ detail }) => ends.push(detail.reason));
  document.addEventListener('datastar-fetch', ({ detail }) => detail.el.id === 'ask' && !detail.type.includes('-') && ends.push(detail.type));
}

const listed = async (texts, of = tabs) => {
  for (const tab of of) await tab.until('#notes', text => text === texts.join('\n'));
};
const add = async (tab, text) => {
  await tab.page.locator('[name=text]').fill(text);
  await tab.page.locator('form button').click();
};

test('what one page adds is shown in all, and to those that come later', async () => {
  await add(tabs[0], 'from <b>htmx 2</b> & its form');
  await listed(['from <b>htmx 2</b> & its form']);
  await add(tabs[1], 'from htmx 4');
  await listed(['from htmx 4', 'from <b>htmx 2</b> & its form']);
  await add(tabs[2], 'from datastar');
  const all = ['from datastar', 'from htmx 4', 'from <b>htmx 2</b> & its form'];
  await listed(all);
  const typed = () => Promise.all(tabs.map(({ page }) => page.locator('[name=text]').inputValue()));
  await eventually('the forms are empty', async () => (await typed()).join('') === '');
  const later = await Tab.open(browser, proxy.url + '/htmx4');
  await listed(all, [later]);
  assert.deepEqual(await later.close(), []);
});

test('a report comes piece by piece, and its end is the end', async () => {
  const asked = [];
  for (const { page } of tabs) page.on('request', request => asked.push(new URL(request.url()).pathname));
  await Promise.all(tabs.map(async ({ page }) => {
    await page.locator('#ask').click();
    await page.locator('#here', { hasText: 'All is well.' }).waitFor();
  }));
  const ends = [['message'], ['ended'], ['started', 'finished']];
  for (const [at, { page }] of tabs.entries()) {
    const reports = await page.evaluate(() => reports);
    assert.equal(reports.at(-1).report, 'All is well.');
    const before = reports.filter(({ isDone }) => !isDone).map(({ report }) => report);
    // On a busy machine it may be shown less often than it comes.
    assert.ok(before.length > 2, `before the end: ${before}`);
    await eventually(`${LIBRARIES[at]} ends`, async () => (await page.evaluate(() => ends)).length >= ends[at].length);
    assert.deepEqual(await page.evaluate(() => ends), ends[at]);
  }
  for (const tab of tabs) assert.deepEqual(await tab.trouble(), []);
  // By the time that all have come back to the broadcast, a report would have been asked for again.
  proxy.cut();
  await eventually('all listen again', () => proxy.streams.length > 2 * LIBRARIES.length);
  await add(tabs[0], 'after the cut');
  await eventually('all have it', async () => (await Promise.all(tabs.map(tab => tab.page.locator('#notes li').first().innerText())))
    .every(text => text === 'after the cut'));
  assert.equal(asked.filter(path => path === '/report').length, LIBRARIES.length);
});
