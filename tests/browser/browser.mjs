// A headless Chromium that is watched: whatever goes wrong in a page is kept for the test to see.
import { createRequire } from 'node:module';
import { eventually } from './hub.mjs';

/** The packages, which are installed outside the sources. */
export const require = createRequire(process.env.MODULES + '/');
const { chromium } = require('playwright-core');

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

/** One page of the browser, and what happened in it. */
export class Tab {
  /** Errors, refused by the policy or not, requests to elsewhere, dialogs: none is right. */
  problems = [];
  /** Requests that failed, which is right where the test makes them fail. */
  failures = [];

  /** `init` runs in the page before its own script, with `argument`; `context` is another tab's. */
  static async open(browser, url, { init, argument, context, ...options } = {}) {
    const tab = new Tab();
    context ??= await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    tab.page = await context.newPage();
    if (init) await tab.page.addInitScript(init, argument);
    tab.page.setDefaultTimeout(30000);
    tab.watch(new URL(url).origin);
    await tab.page.addInitScript(() => {
      window.violations = [];
      addEventListener('securitypolicyviolation', event => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    tab.response = await tab.page.goto(url);
    return tab;
  }

  watch(origin) {
    this.page.on('console', message => {
      if (!['error', 'warning'].includes(message.type())) return;
      const list = message.text().startsWith('Failed to load resource') ? this.failures : this.problems;
      list.push(message.text());
    });
    this.page.on('pageerror', error => this.problems.push(String(error)));
    this.page.on('dialog', dialog => {
      this.problems.push('dialog ' + dialog.message());
      dialog.dismiss();
    });
    this.page.on('request', request => {
      const { protocol, origin: asked } = new URL(request.url());
      if (asked !== origin && protocol !== 'data:') this.problems.push('request to ' + request.url());
    });
  }

  /** Waits until the state says this. */
  state(beginning) {
    return this.until('#state', text => text.startsWith(beginning), `state ${beginning}`);
  }

  /** Waits until an element's text is as it should be. */
  async until(selector, right, what = selector) {
    let text;
    const get = async () => right(text = await this.page.locator(selector).innerText());
    await eventually(what, get).catch(error => { throw new Error(`${error.message}; it is ${JSON.stringify(text)}`); });
  }

  /** The events shown, in the order in which they came; of a type, where one is named. */
  events(type) {
    return this.page.evaluate(type => [...document.querySelectorAll('#events li:not(#empty)')].reverse()
      .filter(row => !row.hidden && (!type || row.querySelector('b').textContent === type))
      .map(row => ({
        kind: row.className,
        type: row.querySelector('b').textContent,
        id: row.querySelector('code')?.textContent,
        data: row.querySelector('pre, span').textContent,
      })), type);
  }

  /** Waits until exactly these data are shown as events of a type. */
  async shows(type, expected) {
    let got;
    const same = async () => {
      got = (await this.events(type)).map(({ data }) => data);
      return JSON.stringify(got) === JSON.stringify(expected);
    };
    await eventually('the events', same).catch(error => {
      throw new Error(`${error.message}: expected ${JSON.stringify(expected).slice(0, 2000)}, got ${JSON.stringify(got).slice(0, 2000)}`);
    });
  }

  /** All that went wrong, the policy's refusals among it. */
  async trouble() {
    return [...this.problems, ...await this.page.evaluate(() => violations)];
  }

  /** Closes it; returns what went wrong. */
  async close() {
    const trouble = await this.trouble();
    await this.page.context().close();
    return trouble;
  }
}
