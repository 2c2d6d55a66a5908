// How the page looks: readable in light, dark and on a phone. The pictures are for people.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Hub } from './hub.mjs';
import { Tab, launch, require } from './browser.mjs';

const LONG = 'n'.repeat(200);

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
    const faint = await page.evaluate(contrasts);
    assert.equal(faint.length, 3);
    for (const [id, contrast] of faint) assert.ok(contrast >= 4.5, `the placeholder of ${id} has a contrast of ${contrast}`);
    await tab.close();
  });
}

/** Contrasts of the placeholders with their fields, by WCAG 2.1; axe looks at no placeholder. */
function contrasts() {
  const channels = colour => colour.match(/[\d.]+/g).slice(0, 3).map(value => value / 255);
  const luminance = colour => channels(colour).map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  return [...document.querySelectorAll('[placeholder]')].map(field => {
    const { color, opacity } = getComputedStyle(field, '::placeholder');
    if (opacity !== '1') throw new Error('it is not opaque');
    const [dark, light] = [color, getComputedStyle(field).backgroundColor].map(luminance).sort((a, b) => a - b);
    return [field.id, (light + 0.05) / (dark + 0.05)];
  });
}

for (const width of [1280, 390, 320]) {
  test(`long names and ids move nothing in a window of ${width} pixels`, async context => {
    const long = await Hub.start(['news', LONG]);
    context.after(() => long.kill());
    const tab = await Tab.open(browser, long.url, { viewport: { width, height: 800 } });
    await tab.state('Open');
    const publish = async (event, id) => {
      await long.publish({ event, data: 'x', id });
      await tab.until('#last-id', text => text === id);
      await tab.until('#events li:first-child code', text => text === id);
      // At the page's end, where it may grow.
      await tab.until('#curl-resume', text => text.endsWith(`=${id}'`));
    };
    await publish('news', 'short');
    const before = await tab.page.evaluate(places);
    await publish(LONG, 'i'.repeat(256));
    await tab.page.evaluate(() => {
      // A box that only hides what is too long can be moved, by a search in the page or by a selection.
      for (const box of document.querySelectorAll('#last-id, #events li, #events li *, #types span')) box.scrollLeft = 1e6;
    });
    const after = await tab.page.evaluate(places);
    assert.deepEqual(after, before);
    const outside = await tab.page.evaluate(() => ['#events li', '#types label'].flatMap(rows => [...document.querySelectorAll(rows)])
      .flatMap(row => [...row.children].filter(part => part.getBoundingClientRect().right > row.getBoundingClientRect().right + 1))
      .map(part => part.outerHTML));
    assert.deepEqual(outside, []);
    const titles = ['#last-id', '#events li:first-child b', '#types label:last-child span'].map(name => tab.page.locator(name).getAttribute('title'));
    assert.deepEqual(await Promise.all(titles), ['i'.repeat(256), LONG, LONG], 'the whole of it');
    await tab.page.screenshot({ path: `${process.env.MODULES}/long-${width}.png`, fullPage: true });
    await tab.close();
  });
}

/** Where everything is, except what an event more moves by right. */
function places() {
  const of = (name, ...sides) => [...document.querySelectorAll(name)].map(element => {
    const box = element.getBoundingClientRect();
    return [name, ...sides.map(side => Math.round(box[side]))];
  });
  const newest = document.querySelector('#events li');
  return [
    document.documentElement.scrollWidth, newest.scrollLeft, Math.round(newest.getBoundingClientRect().height),
    ...of('header', 'height'), ...of('.card', 'left', 'top', 'width'), ...of('.card:not(#stream, #curl)', 'height'), ...of('#types label', 'left', 'height', 'width'),
    ...of('#types small', 'right'), ...of('#events li:first-child time', 'left'), ...of('#event', 'width'),
  ];
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
