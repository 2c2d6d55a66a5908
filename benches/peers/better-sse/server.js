// better-sse on node:http, as its guides show it: a session for each client, a channel for each
// event type; a client of several types joins several channels.
//
// There is no limit on what waits for a client that does not read: it stays in the memory of the
// process, nothing is lost, and nobody is disconnected. One thread does it all.

import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { createChannel, createSession } from "better-sse";

const { values } = parseArgs({ options: { types: { type: "string" } } });
const channels = new Map();
for (let number = 0; number < Number(values.types); number++) {
	channels.set(`t${number}`, createChannel());
}

const sessionOptions = {
	// The default quotes texts as JSON.
	serializer: (data) => data,
	// The same for every server that is measured.
	keepAlive: 15_000,
};
let lastId = 0;

async function listen(names, request, response) {
	const wanted = names.map((name) => channels.get(name));
	if (wanted.includes(undefined)) {
		response.writeHead(400).end();
		return;
	}
	const session = await createSession(request, response, sessionOptions);
	for (const channel of wanted) {
		channel.register(session);
	}
}

async function send([name], request, response) {
	const data = new URLSearchParams(await text(request)).get("data");
	const channel = channels.get(name);
	if (channel === undefined || data === null) {
		response.writeHead(400).end();
		return;
	}
	lastId += 1;
	channel.broadcast(data, name, { eventId: String(lastId) });
	response.writeHead(200, { "Content-Length": 0 }).end();
}

const server = createServer((request, response) => {
	const { pathname, searchParams } = new URL(request.url, "http://localhost");
	const names = searchParams.getAll("event");
	const routes = { "GET /event": listen, "POST /send": send };
	const route = routes[`${request.method} ${pathname}`];
	if (route === undefined) {
		response.writeHead(404).end();
		return;
	}
	route(names, request, response).catch((error) => response.destroy(error));
});
// The default of 5 s would close a publisher's connection between two scenarios.
server.keepAliveTimeout = 75_000;
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
	process.stdout.write(`listening 127.0.0.1:${server.address().port}\n`);
});
process.stdin.resume().on("end", () => process.exit());
