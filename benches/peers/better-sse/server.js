// better-sse on node:http, as its guides show it: a session for each client, a channel for each
// event type; a client of several types joins several channels. A channel that clients name is
// there as long as anyone listens to it. The last events of each type are kept, and a client that
// comes back gets those that it missed as one batch.
//
// There is no limit on what waits for a client that does not read: it stays in the memory of the
// process, nothing is lost, and nobody is disconnected. One thread does it all.

import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { setImmediate, setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createChannel, createEventBuffer, createSession } from "better-sse";

const { values } = parseArgs({ options: { types: { type: "string" } } });
// As many events as websse keeps.
const KEPT = 1024;
const channels = new Map();
const histories = new Map();
for (let number = 0; number < Number(values.types); number++) {
	channels.set(`t${number}`, createChannel());
	histories.set(`t${number}`, []);
}
const named = new Map();

const sessionOptions = {
	// The default quotes texts as JSON.
	serializer: (data) => data,
	// The same for every server that is measured.
	keepAlive: 15_000,
};
let lastId = 0;

// The common channel, whose name is empty, is that of the first type.
function listenTo(name) {
	if (name === "") {
		return channels.get("t0");
	}
	let channel = named.get(name);
	if (channel === undefined) {
		channel = createChannel();
		channel.on("session-deregistered", () => {
			if (channel.sessionCount === 0 && named.get(name) === channel) {
				named.delete(name);
			}
		});
		named.set(name, channel);
	}
	return channel;
}

async function listen(parameters, request, response) {
	const types = parameters.getAll("event");
	const names = parameters.getAll("channel");
	const wanted = names.length > 0 ? names.map(listenTo) : types.map((name) => channels.get(name));
	if (wanted.includes(undefined)) {
		response.writeHead(400).end();
		return;
	}
	const session = await createSession(request, response, sessionOptions);
	const last = parameters.get("last_event_id");
	if (last !== null) {
		const buffer = createEventBuffer(sessionOptions);
		for (const { id, type, data } of histories.get(types[0])) {
			if (id > Number(last)) {
				buffer.push(data, type, String(id));
			}
		}
		// What it writes is on its way before this waits.
		session.batch(buffer).catch((error) => response.destroy(error));
	}
	for (const channel of wanted) {
		channel.register(session);
	}
}

async function send(parameters, request, response) {
	const type = parameters.get("event");
	const name = parameters.get("channel");
	const data = new URLSearchParams(await text(request)).get("data");
	if (!channels.has(type) || data === null) {
		response.writeHead(400).end();
		return;
	}
	lastId += 1;
	if (name) {
		named.get(name)?.broadcast(data, type, { eventId: String(lastId) });
	} else {
		const history = histories.get(type);
		history.push({ id: lastId, type, data });
		if (history.length > KEPT) {
			history.shift();
		}
		channels.get(type).broadcast(data, type, { eventId: String(lastId) });
	}
	response.writeHead(200, { "Content-Length": 0 }).end();
}

// For one request alone, without better-sse: there is nobody to share with. Each event is sent before
// the next is made.
async function own(parameters, request, response) {
	const [messages, pause] = ["messages", "pause"].map((name) => Number(parameters.get(name)));
	response.writeHead(200, { "Content-Type": "text/event-stream" });
	for (let number = 0; number < messages; number++) {
		if (!response.write(`data: ${`0-${number}-1-`.padEnd(40, "x")}\n\n`)) {
			await once(response, "drain");
		}
		await (pause > 0 ? setTimeout(pause) : setImmediate());
	}
	response.end();
}

const server = createServer((request, response) => {
	const { pathname, searchParams } = new URL(request.url, "http://localhost");
	const routes = { "GET /event": listen, "GET /own": own, "POST /send": send };
	const route = routes[`${request.method} ${pathname}`];
	if (route === undefined) {
		response.writeHead(404).end();
		return;
	}
	route(searchParams, request, response).catch((error) => response.destroy(error));
});
// The default of 5 s would close a publisher's connection between two scenarios.
server.keepAliveTimeout = 75_000;
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
	process.stdout.write(`listening 127.0.0.1:${server.address().port}\n`);
});
process.stdin.resume().on("end", () => process.exit());
