// A proxy before the hub, which can do what goes wrong on the way.
import { once } from 'node:events';
import { createServer, request } from 'node:http';

export class Proxy {
  /** Every request of a stream: its parameters, and the last id that the browser sent by itself. */
  streams = [];
  /** May answer a request in the hub's place: returns a status, or [status, type, body]. */
  answer = () => undefined;
  /** After how many bytes of a stream's body the next streams are cut; each number is for one. */
  cuts = [];
  /** Nothing passes, and nobody is told: as if the network had gone. */
  stalled = false;
  /** Every stream that is asked for is cut off without an answer, which a browser repeats. */
  refusing = false;
  responses = new Set();
  /** How many answers were streams, of any address. */
  opened = 0;
  sockets = new Set();

  static async start(hub) {
    const proxy = new Proxy();
    proxy.hub = hub;
    proxy.server = createServer((question, answer) => proxy.handle(question, answer));
    proxy.server.on('connection', socket => {
      proxy.sockets.add(socket);
      socket.on('close', () => proxy.sockets.delete(socket));
    });
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  handle(question, answer) {
    const url = new URL(question.url, this.url);
    const isStream = url.pathname === '/event';
    if (isStream) this.streams.push({ parameters: url.searchParams, lastId: question.headers['last-event-id'] });
    if (this.stalled) return;
    if (this.refusing && isStream) return question.socket.destroy();
    const own = [this.answer(url, question)].flat();
    if (own[0]) {
      const [status, type = 'text/plain', body = ''] = own;
      question.resume();
      return answer.writeHead(status, { 'Content-Type': type }).end(body);
    }
    const cut = isStream ? this.cuts.shift() : undefined;
    const { method, headers } = question;
    const onward = request(this.hub.url + question.url, { method, headers, agent: false });
    onward.on('response', response => {
      answer.writeHead(response.statusCode, response.headers).flushHeaders();
      if (response.headers['content-type'] ?.startsWith('text/event-stream')) this.opened++;
      let left = cut ?? Infinity;
      this.responses.add(response);
      if (this.stalled) response.pause();
      response.on('data', bytes => {
        // In the midst of whatever it is, even of a character, and without a last chunk.
        const cut = bytes.length >= left && (() => question.socket.destroy());
        if (left > 0) answer.write(bytes.subarray(0, left), cut || undefined);
        left -= bytes.length;
      });
      response.on('end', () => answer.end());
      response.on('close', () => this.responses.delete(response));
      response.on('error', () => question.socket.destroy());
    });
    onward.on('error', () => question.socket.destroy());
    answer.once('close', () => onward.destroy());
    question.pipe(onward);
  }

  /** Whatever is under way stays so, for ever: what is asked meanwhile has no answer later either. */
  stall() {
    this.stalled = true;
    for (const response of this.responses) response.pause();
  }

  /** What is asked from now on is answered. */
  flow() {
    this.stalled = false;
  }

  /** Cuts every connection there is. */
  cut() {
    for (const socket of this.sockets) socket.destroy();
  }

  stop() {
    this.server.close();
    this.cut();
  }
}
