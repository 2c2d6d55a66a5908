// Three engines behind one small face: Chromium by Playwright, Firefox by its Marionette protocol,
// which geckodriver speaks too, and WebKit by its WebDriver. One session has one window. Any certificate is let pass.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { eventually } from './hub.mjs';
import { launch } from './browser.mjs';

/** Those to test in: named in ENGINES, or all. */
export const engines = (process.env.ENGINES ?? 'chromium firefox webkit').split(' ');

export const start = name => ({ chromium: Chromium, firefox: Firefox, webkit: WebKit })[name].start();

/** What all have in common: `go`, `evaluate`, `close`. */
class Window {
  /** Waits until the page makes the function truthy, and returns that; fails with what the page shows then. */
  async until(what, get, ...values) {
    let trouble;
    // A page that is being left for another one refuses to evaluate.
    const ask = () => this.evaluate(get, ...values).catch(error => { trouble = error; });
    return eventually(what, ask).catch(async error => {
      const text = await this.evaluate(() => document.body.innerText);
      throw new Error(`${error.message}; the page shows ${JSON.stringify(text).slice(0, 2000)}`, { cause: trouble });
    });
  }

  /** Waits until an element's text begins so. */
  says(selector, beginning) {
    return this.until(`${selector} says ${beginning}`, (selector, beginning) =>
      document.querySelector(selector)?.textContent.startsWith(beginning), selector, beginning);
  }
}

class Chromium extends Window {
  static async start() {
    const window = new Chromium();
    window.browser = await launch();
    window.page = await window.browser.newPage({ ignoreHTTPSErrors: true });
    return window;
  }
  async go(url) {
    await this.page.goto(url);
  }
  evaluate(script, ...values) {
    return this.page.evaluate(([script, values]) => eval(script)(...values), [String(script), values]);
  }
  close() {
    return this.browser.close();
  }
}

/** A session of WebDriver; `ask` is what its two kinds differ in. */
class Driven extends Window {
  static async started(window, child) {
    window.child = child;
    window.ended = once(child, 'exit');
    child.stderr.resume();
    return window;
  }
  async close() {
    await this.quit();
    const late = setTimeout(() => this.child.kill('SIGKILL'), 10000);
    await this.ended;
    clearTimeout(late);
  }
}

class Firefox extends Driven {
  sent = 0;
  answers = new Map();

  static async start() {
    const profile = await mkdtemp(tmpdir() + '/websse-firefox-');
    await writeFile(profile + '/user.js', `
user_pref('marionette.port', 0);
user_pref('app.update.enabled', false);
user_pref('browser.shell.checkDefaultBrowser', false);
user_pref('datareporting.policy.dataSubmissionEnabled', false);
user_pref('network.captive-portal-service.enabled', false);
user_pref('network.connectivity-service.enabled', false);
user_pref('services.settings.server', 'data:,');
user_pref('toolkit.telemetry.reportingpolicy.firstRun', false);
`);
    const arguments_ = ['--headless', '--marionette', '--no-remote', '--new-instance', '--profile', profile, 'about:blank'];
    const child = spawn(process.env.FIREFOX, arguments_, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HOME: profile } });
    const window = await this.started(new Firefox(), child);
    window.profile = profile;
    // It writes its port there when it listens.
    const port = await eventually('Firefox listens', async () => {
      const text = await readFile(profile + '/MarionetteActivePort', 'utf8').catch(() => '');
      if (child.exitCode !== null) throw new Error('Firefox ended with ' + child.exitCode);
      return Number(text);
    });
    await window.attach(port);
    await window.ask('WebDriver:NewSession', { acceptInsecureCerts: true, timeouts: { script: 30000, pageLoad: 60000 } });
    return window;
  }

  /** A message is its length in bytes, a colon, and JSON: [0, number, command, parameters], answered
   * by [1, number, error, result]. What comes first is a greeting. */
  async attach(port) {
    this.socket = connect(port, '127.0.0.1');
    let bytes = Buffer.alloc(0);
    this.socket.on('data', more => {
      bytes = Buffer.concat([bytes, more]);
      for (;;) {
        const colon = bytes.indexOf(':');
        const end = colon + 1 + Number(bytes.subarray(0, colon));
        if (colon < 0 || bytes.length < end) return;
        const message = JSON.parse(bytes.subarray(colon + 1, end));
        bytes = bytes.subarray(end);
        if (!Array.isArray(message)) continue;
        const [, number, error, result] = message;
        const { resolve, reject } = this.answers.get(number);
        this.answers.delete(number);
        if (error) reject(new Error(`Firefox: ${error.message}`));
        else resolve(result);
      }
    });
    this.socket.on('close', () => {
      for (const { reject } of this.answers.values()) reject(new Error('Firefox has gone'));
    });
    await once(this.socket, 'connect');
  }

  ask(command, parameters = {}) {
    const number = this.sent++;
    const text = JSON.stringify([0, number, command, parameters]);
    this.socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise((resolve, reject) => this.answers.set(number, { resolve, reject }));
  }

  go(url) {
    return this.ask('WebDriver:Navigate', { url });
  }
  async evaluate(script, ...args) {
    // Without a sandbox, so that it sees what the page itself sees.
    const call = { script: `return (${script})(...arguments)`, args, sandbox: null };
    return (await this.ask('WebDriver:ExecuteScript', call)).value;
  }
  async quit() {
    await this.ask('Marionette:Quit', { flags: ['eForceQuit'] });
  }
  async close() {
    await super.close();
    this.socket.destroy();
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

class WebKit extends Driven {
  static async start() {
    // It has no mode without a screen; this one is in memory.
    const screen = spawn('Xvfb', ['-displayfd', '1', '-screen', '0', '1280x1000x24'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [display] = await once(createInterface(screen.stdout), 'line');
    const port = await freePort();
    const child = spawn(process.env.WEBKIT_DRIVER, ['--port=' + port], {
      stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, DISPLAY: ':' + display },
    });
    const window = await this.started(new WebKit(), child);
    window.screen = screen;
    window.url = `http://127.0.0.1:${port}/session`;
    await eventually('the driver listens', () => fetch(`http://127.0.0.1:${port}/status`).catch(() => undefined));
    const browser = { binary: process.env.MINIBROWSER, args: ['--automation'] };
    const alwaysMatch = { browserName: 'MiniBrowser', acceptInsecureCerts: true, 'webkitgtk:browserOptions': browser, timeouts: { script: 30000, pageLoad: 60000 } };
    window.url += '/' + (await window.ask('POST', '', { capabilities: { alwaysMatch } })).sessionId;
    return window;
  }

  async ask(method, path, parameters) {
    const answer = await fetch(this.url + path, { method, body: parameters && JSON.stringify(parameters) });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`WebKit: ${value.message || value.error}`);
    return value;
  }

  go(url) {
    return this.ask('POST', '/url', { url });
  }
  evaluate(script, ...args) {
    return this.ask('POST', '/execute/sync', { script: `return (${script})(...arguments)`, args });
  }
  async quit() {
    await this.ask('DELETE', '');
    this.child.kill();
  }
  async close() {
    await super.close();
    this.screen.kill();
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
