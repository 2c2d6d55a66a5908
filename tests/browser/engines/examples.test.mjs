// The examples' own pages, and the manual's lines for one.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { Example, Hub, eventually } from '../hub.mjs';
import { Proxy } from '../proxy.mjs';
import { engines, start } from '../engines.mjs';

const LINES = /^\/\/! function listen\(lastId\) {$.*^\/\/! listen\(''\)$/ms;

for (const engine of engines) describe(engine, () => {
  let window;
  before(async () => window = await start(engine));
  after(() => window?.close());

  /** Starts an example and a proxy before it, and opens its page. */
  const open = async (context, name, ...rest) => {
    const example = await Example.start(name, ...rest);
    context.after(() => example.kill());
    const proxy = await Proxy.start(example);
    context.after(() => proxy.stop());
    context.after(() => window.go('about:blank'));
    await window.go(proxy.url);
    await eventually('the page listens', () => proxy.streams.length);
    return proxy;
  };

  /** Cuts the stream, and lets a proxy's 502 close it for good; acts, and lets the page come back. */
  const without = async (proxy, act = () => {}) => {
    const { answer } = proxy;
    const asked = proxy.streams.length;
    proxy.answer = ({ pathname }) => pathname === '/event' && 502;
    proxy.cut();
    await eventually('it is closed for good', () => proxy.streams.length > asked);
    await act();
    proxy.answer = answer;
    await eventually('it is open again', () => proxy.opened > 1);
    return proxy.streams.at(-1);
  };

  /** A directory with a page, which is written whole: a write of its own first empties a file, and is two changes. */
  const site = async context => {
    const [directory, beside] = await Promise.all(['site', 'beside'].map(name => mkdtemp(`${tmpdir()}/websse-${name}-`)));
    context.after(() => Promise.all([directory, beside].map(path => rm(path, { recursive: true }))));
    const write = async text => {
      await writeFile(beside + '/page', `<h1>${text}</h1>`);
      await rename(beside + '/page', directory + '/index.html');
    };
    return { directory, write };
  };

  test("the manual's lines lose nothing when a proxy closes a stream that had no event", async context => {
    const hub = await Hub.start(['news']);
    context.after(() => hub.kill());
    const proxy = await Proxy.start(hub);
    context.after(() => proxy.stop());
    context.after(() => window.go('about:blank'));
    const [manual] = (await readFile(new URL('../../../src/lib.rs', import.meta.url), 'utf8')).match(LINES);
    const lines = manual.replaceAll(/^\/\/! ?/gm, '').replace('// use the data', "document.querySelector('ol').append(data, ' ')");
    const page = `<!doctype html><link rel="icon" href="data:,"><ol></ol><script>${lines}</script>`;
    proxy.answer = ({ pathname }) => pathname === '/page' && [200, 'text/html', page];
    await window.go(proxy.url + '/page');
    await eventually('it is open', () => proxy.opened === 1);
    const { parameters } = await without(proxy, () => hub.publish({ event: 'news', data: 'missed' }));
    assert.match(parameters.get('last_event_id'), /^\w{13}-0$/);
    await hub.publish({ event: 'news', data: 'later' });
    await window.says('ol', 'missed later ');
  });

  for (const name of ['simple-websse', 'chat']) {
    test(`${name}: a stream that is closed for good goes on where it began`, async context => {
      const proxy = await open(context, name);
      await eventually('it is open', () => proxy.opened === 1);
      const { parameters } = await without(proxy);
      assert.match(parameters.get('last_event_id'), /^\w{13}-\d+$/);
    });
  }

  for (const [name, where] of [['simple-websse', 'li'], ['progress', 'output']]) {
    test(`${name}: a stream that is closed for good goes on with its last id`, async context => {
      const proxy = await open(context, name);
      const words = () => window.evaluate(where => [...document.querySelectorAll(where)].map(({ textContent }) => textContent), where);
      await window.until('an event', where => /\d/.test(document.querySelector(where)?.textContent), where);
      proxy.answer = ({ pathname }) => pathname === '/event' && 502;
      proxy.cut();
      await eventually('it is closed for good', () => proxy.streams.length === 2);
      const before = await words();
      proxy.answer = () => undefined;
      await eventually('it goes on', async () => String(await words()) !== String(before));
      const { parameters, lastId } = proxy.streams[2];
      assert.match(parameters.get('last_event_id'), /^\w{13}-\d+$/);
      assert.equal(lastId, undefined);
      if (name === 'simple-websse') {
        const seconds = (await words()).map(text => Number(text.replace('event ', '')));
        assert.deepEqual(seconds, seconds.map((_, at) => seconds[0] + at), 'none is lost, none comes twice');
      }
    });
  }

  test('chat: what is said comes back once, and what cannot be sent is told', async context => {
    const proxy = await open(context, 'chat');
    const say = text => window.evaluate(text => {
      const [form] = document.forms;
      form.elements.name.value = 'Ann';
      form.elements.text.value = text;
      form.requestSubmit();
    }, text);
    const left = () => window.evaluate(() => document.forms[0].elements.text.value);
    const lines = (...expected) => window.until('the lines ' + expected, expected =>
      [...document.querySelectorAll('li')].map(({ textContent }) => textContent).join() === expected, expected.join());
    await say('one');
    await lines('Ann: one');
    await window.until('the field is empty', () => document.forms[0].elements.text.value === '');
    proxy.answer = ({ pathname }) => pathname === '/say' && [503, 'text/plain', 'not now'];
    await say('two');
    await window.says('output', 'Not sent: not now');
    assert.equal(await left(), 'two');
    // Closed for good, and so is every way.
    proxy.answer = () => 502;
    proxy.cut();
    await eventually('it is closed for good', () => proxy.streams.length === 2);
    proxy.answer = () => undefined;
    await eventually('it is open again', () => proxy.streams.length === 3);
    await say('three');
    await lines('Ann: one', 'Ann: three');
    await window.until('nothing is told', () => document.querySelector('output').textContent === '');
    proxy.server.close();
    proxy.cut();
    await say('four');
    await window.says('output', 'No answer, so it may not be sent');
    assert.equal(await left(), 'four');
  });

  test('live-reload: a page that is refused for now is not loaded again for that', async context => {
    // First, as the page loads itself again when its server has gone.
    context.after(() => window.go('about:blank'));
    const { directory, write } = await site(context);
    await write('one');
    const example = await Example.start('live-reload', 0, [directory]);
    context.after(() => example.kill());
    const proxy = await Proxy.start(example);
    context.after(() => proxy.stop());
    let loads = 0, refusals = 0;
    proxy.answer = ({ pathname }) => {
      if (pathname === '/') loads++;
      if (pathname !== '/-/changes' || refusals === 4) return undefined;
      refusals++;
      return [200, 'text/event-stream', ': full\nevent: stream-open\ndata: {}\nretry: 100\n\n'];
    };
    await window.go(proxy.url);
    await eventually('it is connected', () => proxy.opened === 1);
    assert.deepEqual([loads, refusals], [1, 4]);
    await write('two');
    await window.says('h1', 'two');
    assert.equal(loads, 2);
  });

  test('live-reload: a page is loaded again when a file changes, and right after a restart', async context => {
    // First, as the page loads itself again when its server has gone.
    context.after(() => window.go('about:blank'));
    const { directory, write } = await site(context);
    await write('one');
    let example = await Example.start('live-reload', 0, [directory]);
    context.after(() => example.kill());
    const proxy = await Proxy.start(example);
    context.after(() => proxy.stop());
    // Counts for each page anew.
    proxy.answer = ({ pathname }) => {
      if (pathname === '/') proxy.opened = 0;
    };
    await window.go(proxy.url);
    await window.says('h1', 'one');
    await eventually('it is connected', () => proxy.opened === 1);
    // Before any event: the page has no id to come back with.
    await example.kill();
    await write('two');
    example = await Example.start('live-reload', 0, [directory]);
    proxy.hub = example;
    await window.says('h1', 'two');
    await eventually('it is connected again', () => proxy.opened === 1);
    await write('three');
    await window.says('h1', 'three');
  });
});
