// Whatever is published is shown as the text that it is.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Hub } from './hub.mjs';
import { Tab, launch } from './browser.mjs';

let hub, browser, tab;
before(async () => {
  browser = await launch();
  hub = await Hub.start(['x']);
  tab = await Tab.open(browser, hub.url);
  await tab.state('Open');
});
after(async () => {
  await browser?.close();
  await hub?.kill();
});

const points = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => String.fromCodePoint(from + at)).join('');
const planes = Array.from({ length: 17 }, (_, plane) => plane * 0x10000);
const texts = {
  'a script': '<script>document.title = "executed"; alert(1)</script>',
  'an image with a handler': '<img src=x onerror="document.title = \'executed\'"><svg onload=alert(1)><iframe srcdoc="<script>parent.alert(1)</script>">',
  'what would end the place it is in': '</pre></li></ol></script></style>--><script>alert(1)</script>&lt;b&gt;&amp;',
  'a template of the page\'s script': '${alert(1)} `; alert(1); //',
  // CR and LF are line ends, and arrive as LF; NUL is refused.
  'control characters': points(1, 9) + points(0x0b, 0x0c) + points(0x0e, 0x1f) + points(0x7f, 0x9f) + '\u2028\u2029\ufeff',
  'marks that turn the direction': 'a\u202eb\u2066c\u200f\u061c\u2069\u202c אבג',
  'every Unicode plane': planes.map(plane => points(plane + 0x1000, plane + 0x1004) + points(plane + 0xfffd, plane + 0xffff)).join(''),
  'marks upon marks': 'Z' + '\u0335\u0321\u0489'.repeat(600),
};

const ID = '<img src=x onerror=alert(1)>';
const published = [];
for (const [name, text] of Object.entries(texts)) {
  test(`${name}: shown as text`, async () => {
    await hub.publishBody('x', text, ID);
    published.push(text);
    await tab.shows('x', published);
    assert.equal((await tab.events()).at(-1).id, ID);
  });
}

// The cut falls into the midst of a character that takes two units.
for (const text of ['<script>alert(1)</script>'.repeat(41900), 'a' + '😀'.repeat(260000)]) {
  test(`1 MiB of ${text.slice(0, 9)}: cut, and shown whole when asked for`, async () => {
    await hub.publishBody('x', text);
    const newest = tab.page.locator('#events li').first();
    await newest.getByRole('button').waitFor();
    const cut = await newest.locator('pre').textContent();
    assert.ok(cut.length <= 2001 && cut.endsWith('…') && text.startsWith(cut.slice(0, -1)) && cut.isWellFormed());
    await newest.getByRole('button', { name: text.length.toLocaleString('en') }).click();
    assert.ok(await newest.locator('pre').textContent() === text);
    await tab.page.click('#clear');
  });
}

test('nothing of it was executed, loaded, or refused by the policy', async () => {
  assert.deepEqual([await tab.trouble(), tab.failures], [[], []]);
  assert.equal(await tab.page.title(), 'websse');
  const elements = await tab.page.evaluate(() => document.querySelectorAll('img, iframe, script, object, svg').length);
  assert.equal(elements, 2, 'the script and the chart of the page itself');
});
