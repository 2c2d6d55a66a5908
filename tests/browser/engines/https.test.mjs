// The page over HTTPS, with a certificate that is let pass: streams come, and come back.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Hub } from '../hub.mjs';
import { engines, start } from '../engines.mjs';

let folder, files;
before(async () => {
  folder = await mkdtemp(tmpdir() + '/websse-https-');
  files = ['chain', 'key'].map(name => `${folder}/${name}.pem`);
  // As the README makes one.
  await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-out', files[0], '-keyout', files[1]]);
});
after(() => rm(folder, { recursive: true }));

const hubAt = async port => {
  const flags = ['--tls-cert', files[0], '--tls-key', files[1], '--retry', '500ms'];
  const hub = await Hub.start(['news'], flags, port);
  hub.authority = files[0];
  return hub;
};

for (const engine of engines) describe(engine, () => {
  let hub, window;
  before(async () => {
    hub = await hubAt(0);
    window = await start(engine);
  });
  after(async () => {
    await window?.close();
    await hub?.kill();
  });

  const shows = data => window.until(`the event ${data}`, data =>
    [...document.querySelectorAll('#events li')].some(row => row.querySelector('pre')?.textContent === data), data);

  test('the page shows what is published, publishes, and comes back', async () => {
    assert.match(hub.url, /^https:/);
    await window.go(hub.url);
    await window.says('#state', 'Open');
    assert.equal(await window.evaluate(() => isSecureContext && location.protocol), 'https:');
    await hub.publish({ event: 'news', data: 'by curl' });
    await shows('by curl');
    const status = await window.evaluate(() => {
      const request = new XMLHttpRequest();
      request.open('POST', '/send?event=news', false);
      request.setRequestHeader('Content-Type', 'text/plain');
      request.send('by the page');
      return request.status;
    });
    assert.equal(status, 200);
    await shows('by the page');
    const { port } = hub;
    await hub.kill();
    hub = await hubAt(port);
    await window.says('#state', 'Open');
    await hub.publish({ event: 'news', data: 'after a restart' });
    await shows('after a restart');
  });
});
