// How the page looks: readable in light, dark and on a phone. The pictures are for people.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Hub } from './hub.mjs';
import { Tab, launch, require } from './browser.mjs';

let hub, browser, axe;
before(async () => {
  browser = await launch();
  hub = await Hub.start(['prices', 'news', 'weather']);
  axe = await readFile(require.resolve('axe-core/axe.min.js'), 'utf8');
});
after(async () => {
  await browser?.close();
  await hub?.kill();
});

const looks = {
  light: { colorScheme: 'light', viewport: { width: 1160, height: 740 }, deviceScaleFactor: 0.78 },
  dark: { colorScheme: 'dark', viewport: { width: 900, height: 900 } },
  phone: { colorScheme: 'dark', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};

for (const [name, options] of Object.entries(looks)) {
  test(`${name}: nothing is cut off, and no rule of accessibility is broken`, async () => {
    const tab = await Tab.open(browser, hub.url, options);
    const { page } = tab;
    await tab.state('Open');
    await story(tab);
    const { width, height } = options.viewport;
    for (const narrow of name === 'phone' ? [width, 320] : [width]) {
      await page.setViewportSize({ width: narrow, height });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= narrow, `${wide} px in a window of ${narrow}`);
      await page.screenshot({ path: `${process.env.MODULES}/${name}-${narrow}-whole.png`, fullPage: true });
    }
    await page.setViewportSize({ width, height });
    await page.screenshot({ path: `${process.env.MODULES}/${name}.png` });
    await page.evaluate(axe);
    const broken = await page.evaluate(async () => (await window.axe.run()).violations
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target)}`));
    assert.deepEqual(broken, []);
    await tab.close();
  });
}

/** Some of everything, with a loss that cannot be made good. */
async function story(tab) {
  for (let step = 0; step < 6; step++) {
    await hub.publish({ event: 'prices', data: `{"symbol": "ACME", "price": ${101 + step * 7 % 5}.${step}0}` });
    if (step % 3 === 1) await hub.publish({ event: 'news', data: 'A headline\n\tand a second line, <b>as text</b>' });
    if (step % 4 === 2) await hub.publish({ event: 'weather', data: 'Oslo 4 °C, Lima 19 °C, القاهرة 31 °C' });
  }
  await tab.until('#shown', text => text !== '');
  await tab.page.evaluate(() => take({ type: 'stream-gap', data: '{"requested":"0mwscj3olj8rw-17","oldest":"0mwsgmln3yl4w-1"}', lastEventId: lastId }));
  await hub.publish({ event: '', data: 'The general type' });
  await tab.shows('message', ['The general type']);
  await tab.page.fill('#data', 'It is 4 °C\nin Oslo');
  await tab.page.selectOption('#event', 'weather');
  await tab.page.evaluate(() => {
    document.activeElement.blur();
    scrollTo(0, 0);
  });
  await tab.until('#rate', text => /at most [1-9]/.test(text));
}
