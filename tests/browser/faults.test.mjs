// The page loses nothing that can be had, and says what it lost, whatever happens to its connection.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from './hub.mjs';
import { TYPES, hub, numbers, open, proxy, publish, start, tab } from './proxied.mjs';

test('a connection that is cut in the midst of an event goes on without loss or repeat', async () => {
  // The preamble and each of these events have some 40 bytes: both cuts are within an event.
  proxy.cuts = [220, 333];
  await open();
  await tab.state('Open');
  await publish(numbers(1, 20));
  await tab.shows('news', numbers(1, 20));
  await tab.until('#reconnects', text => text === '2');
  await tab.state('Open');
  assert.equal(proxy.streams.length, 3);
  assert.equal((await tab.events('stream-gap')).length, 0);
  assert.equal((await tab.events('reconnected')).length, 2);
});

for (const [what, refuses] of [['the stream', path => path === '/event'], ['everything', () => true]]) {
  test(`a proxy's 502 for ${what} closes it for good, and it goes on with its last id`, async () => {
    await open();
    await tab.state('Open');
    await publish(numbers(1, 3));
    await tab.shows('news', numbers(1, 3));
    const lastId = (await tab.events()).at(-1).id;
    proxy.answer = ({ pathname }) => refuses(pathname) && 502;
    proxy.cut();
    await tab.state('Closed by the server or a proxy');
    await publish(numbers(4, 6));
    if (what === 'everything') await tab.state('The server or a proxy answers 502');
    else await eventually('another attempt in vain', () => proxy.streams.length >= 3);
    proxy.answer = () => undefined;
    await tab.state('Open');
    const { parameters, lastId: header } = proxy.streams.at(-1);
    assert.deepEqual([parameters.get('last_event_id'), header], [lastId, undefined]);
    await publish(['7']);
    await tab.shows('news', numbers(1, 7));
    assert.equal(await tab.page.locator('#reconnects').innerText(), '1');
    assert.ok(tab.failures.some(text => text.includes('502')), String(tab.failures));
  });
}

test('a page that was told no position says that it may have missed some', async () => {
  const event = 'retry: 1\nevent: news\ndata: without an id\n\n';
  proxy.answer = ({ pathname }) => pathname === '/event' && [200, 'text/event-stream', event];
  await open();
  await eventually('it was open', () => proxy.streams.length);
  proxy.answer = ({ pathname }) => pathname === '/event' && 502;
  await tab.state('Closed');
  await publish(['missed']);
  proxy.answer = () => undefined;
  await tab.state('Open');
  // There may be more than one, as it reconnects within a millisecond.
  await eventually('the note', async () => {
    const notes = await tab.events('reconnected');
    return notes.some(({ data }) => data.includes('without a last id'));
  });
});

test('a position at the beginning of a stream is where it goes on', async () => {
  const opening = 'event: stream-open\ndata: {}\nretry: 1\nid: run-7\n\n';
  proxy.answer = ({ pathname }) => pathname === '/event' && [200, 'text/event-stream', opening];
  await open();
  await tab.until('#last-id', text => text === 'run-7');
  proxy.answer = ({ pathname }) => pathname === '/event' && 502;
  await tab.state('Closed');
  await eventually('another attempt', () => proxy.streams.at(-1).parameters.get('last_event_id') === 'run-7');
  assert.deepEqual((await tab.events()).filter(({ type }) => type === 'stream-open'), []);
});

// As the server refuses for now: the reason is in a comment, which no EventSource shows.
const REFUSAL = ': at most 1 stream\nevent: stream-open\ndata: {}\nretry: 200\n\n';

test('a page that is refused again and again says so, and counts one reconnection in the end', async () => {
  await open();
  await tab.state('Open');
  await publish(numbers(1, 3));
  await tab.shows('news', numbers(1, 3));
  const lastId = (await tab.events()).at(-1).id;
  const answer = (...given) => proxy.answer = ({ pathname }) => pathname === '/event' && given;
  const another = async count => {
    const end = proxy.streams.length + count;
    await eventually(`${count} more attempts`, () => proxy.streams.length >= end);
  };
  const refused = async () => {
    answer(200, 'text/event-stream', REFUSAL);
    await tab.state('Refused for now');
    await another(5);
    assert.match(await tab.page.locator('#state').innerText(), /^Refused for now/);
  };
  answer(200, 'text/event-stream', REFUSAL);
  proxy.cut();
  await refused();
  // Closed for good: the browser has lost the id, and a refusal has none.
  answer(502);
  await tab.state('Closed by the server or a proxy');
  await refused();
  answer(502);
  await tab.state('Closed by the server or a proxy');
  await another(1);
  assert.deepEqual([await tab.page.locator('#reconnects').innerText(), (await tab.events('reconnected')).length], ['0', 0]);
  await publish(numbers(4, 6));
  proxy.answer = () => undefined;
  await tab.state('Open');
  assert.equal(proxy.streams.at(-1).parameters.get('last_event_id'), lastId);
  await tab.shows('news', numbers(1, 6));
  assert.equal(await tab.page.locator('#reconnects').innerText(), '1');
  const notes = await tab.events('reconnected');
  assert.deepEqual(notes.map(({ data }) => data), ['after ' + lastId]);
});

test('a page that a full server refuses says so until there is room', async () => {
  await hub.kill();
  await start(TYPES, undefined, ['--max-streams', '1']);
  const other = new AbortController();
  await fetch(hub.url + '/event', { signal: other.signal });
  await open();
  await tab.state('Refused for now');
  await eventually('it is refused again', () => proxy.opened >= 2);
  assert.match(await tab.page.locator('#state').innerText(), /^Refused for now/);
  other.abort();
  await tab.state('Open');
  await publish(['1']);
  await tab.shows(undefined, ['1']);
  assert.equal(await tab.page.locator('#reconnects').innerText(), '0');
});

test('a restart of the server is a gap, and told as one', async () => {
  await open();
  await tab.state('Open');
  await publish(numbers(1, 3));
  await tab.shows('news', numbers(1, 3));
  const lastId = (await tab.events()).at(-1).id;
  await hub?.kill();
  await tab.state('Connection lost');
  await start([...TYPES, 'late'], hub.port);
  await tab.state('Open');
  assert.equal(proxy.streams.at(-1).lastId, lastId);
  await eventually('the gap', async () => (await tab.events('stream-gap')).length);
  const [gap] = await tab.events('stream-gap');
  assert.equal(gap.kind, 'gap');
  assert.ok(gap.data.includes('Events are missing here') && gap.data.includes(lastId), gap.data);
  await tab.until('#gaps', text => text === '1');
  // A type that the former run did not have.
  await tab.until('#types', text => text.includes('late'));
  await hub.publish({ event: 'late', data: 'new' });
  await tab.shows('late', ['new']);
});

test('types that are not registered any more are taken up again when they are', async () => {
  const answers = { '/event': 400, '/stats': [200, 'application/json', JSON.stringify({ types: ['message'], clients: {}, disconnected: {}, uptime: 1 })] };
  await open('#event=news');
  await tab.state('Open');
  proxy.answer = ({ pathname }) => answers[pathname];
  proxy.cut();
  await tab.state('The chosen types are not registered');
  proxy.answer = () => undefined;
  await tab.state('Open');
  await publish(['back']);
  await tab.shows('news', ['back']);
});

test('a page beside five others says why nothing is answered', async () => {
  await open();
  await tab.state('Open');
  await tab.page.evaluate(() => window.others = Array.from({ length: 5 }, () => new EventSource('event')));
  await tab.until('#stats-state', text => text.includes('Too many tabs?'));
  await publish(['still here']);
  await tab.shows('news', ['still here']);
  await tab.page.evaluate(() => others.forEach(other => other.close()));
  await tab.until('#stats-state', text => text === '');
});
