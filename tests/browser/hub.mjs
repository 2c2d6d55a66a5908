// The real command as a child process, and curl to talk to it.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Waits until `get()` is truthy, and returns that; fails with what it was last. */
export async function eventually(what, get, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const got = await get();
    if (got) return got;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

/** A program whose first line tells its address. */
class Program {
  async run(path, flags) {
    this.child = spawn(path, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = once(this.child, 'exit');
    const first = once(createInterface(this.child.stdout), 'line');
    const [line] = await Promise.race([first, this.ended.then(([code]) => [`it ended with ${code}`])]);
    const address = line.match(/https?:\S+/)?.[0];
    if (!address) throw new Error(`${path} does not listen: ${line}`);
    this.url = new URL(address).origin;
    this.port = Number(new URL(address).port);
    return this;
  }

  /** Ends it as a crash does. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

/** One of the examples. */
export class Example extends Program {
  static start(name, port = 0, before = [], after = []) {
    return new Example().run(`${process.env.EXAMPLES}/${name}`, [...before, `127.0.0.1:${port}`, ...after]);
  }
}

/** A hub with these event types. */
export class Hub extends Program {
  /** Where the authority's certificate is, for a hub over HTTPS. */
  authority = '';

  static start(types, flags = [], port = 0) {
    const events = types.flatMap(name => ['--event', name]);
    return new Hub().run(process.env.WEBSSE, ['--listen', `127.0.0.1:${port}`, ...events, ...flags]);
  }

  /** Publishes as somebody else would, by curl. */
  async publish(fields, token = '') {
    const form = Object.entries(fields).flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`]);
    const header = ['--header', `Authorization: ${token && 'Bearer ' + token}`];
    const trusted = this.authority && ['--cacert', this.authority];
    await run('curl', ['--silent', '--show-error', '--fail-with-body', ...trusted, ...header, ...form, `${this.url}/send`]);
  }

  /** Publishes a body as it is, whatever its bytes. */
  async publishBody(event, body, id = '') {
    const query = new URLSearchParams({ event, id });
    const answer = await fetch(`${this.url}/send?${query}`, {
      method: 'POST', headers: { 'Content-Type': 'text/plain' }, body,
    });
    if (!answer.ok) throw new Error(await answer.text());
  }
  /** Publishes so many numbered events as fast as the hub takes them, over one connection. */
  async burst(event, total) {
    const socket = connect(this.port, '127.0.0.1').setEncoding('latin1');
    let answers = '';
    socket.on('data', text => answers += text);
    for (let number = 1; number <= total; number++) {
      socket.write(`POST /send?event=${event}&data=${number} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n`
        + `Connection: ${number < total ? 'keep-alive' : 'close'}\r\n\r\n`);
    }
    await once(socket, 'close');
    const accepted = answers.split('HTTP/1.1 200').length - 1;
    if (accepted < total) throw new Error(`${accepted} of ${total} are accepted: ${answers.slice(-300)}`);
  }
}
