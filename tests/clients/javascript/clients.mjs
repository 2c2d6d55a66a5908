// Runs one of many clients as its users do: `clients.mjs NAME URL TYPE...`.
//
// Each event is printed as a line of JSON. A client that does not parse events prints the body's bytes.
// Everything else goes to the standard error. The program ends when its standard input ends.
// `--list` prints all names, `NAME --version` what runs under a name.
import { readFileSync } from "node:fs";
import http from "node:http";

const [name, url, ...types] = process.argv.slice(2);

// It asks for Node 22 but runs with Node 20: installed apart, where nothing checks that.
const NEWER = "./newer/node_modules/eventsource/dist/index.js";

// By name: the package, how to run it, and the package that it is used with.
const clients = {
  "eventsource@1": ["eventsource1", ({ default: EventSource }) => listen(EventSource)],
  "eventsource@2": ["eventsource2", ({ default: EventSource }) => listen(EventSource)],
  "eventsource@3": ["eventsource3", ({ EventSource }) => listen(EventSource)],
  "eventsource@4": ["eventsource", ({ EventSource }) => listen(EventSource)],
  "eventsource@5": [NEWER, ({ EventSource }) => listen(EventSource)],
  undici: ["undici", ({ EventSource }) => listen(EventSource)],
  "@c4312/eventsource-umd": ["@c4312/eventsource-umd", ({ EventSource }) => listen(EventSource)],
  "@heroku/eventsource": ["@heroku/eventsource", ({ default: EventSource }) => listen(EventSource)],
  "@sanity/eventsource": ["@sanity/eventsource", ({ default: EventSource }) => listen(EventSource)],
  "launchdarkly-eventsource": ["launchdarkly-eventsource", launchdarkly],
  "extended-eventsource": ["extended-eventsource", ({ EventSource }) => listen(EventSource)],
  "reconnecting-eventsource": ["reconnecting-eventsource", reconnecting, "eventsource"],
  "event-source-polyfill": ["event-source-polyfill", polyfill],
  "eventsource-client": ["eventsource-client", eventsourceClient],
  "event-source-plus": ["event-source-plus", eventSourcePlus],
  "fetch-event-source": ["@microsoft/fetch-event-source", fetchEventSourceInPage],
  "@fortaine/fetch-event-source": ["@fortaine/fetch-event-source", fetchEventSource],
  "@ai-zen/node-fetch-event-source": ["@ai-zen/node-fetch-event-source", fetchEventSource],
  "@waylaidwanderer/fetch-event-source": ["@waylaidwanderer/fetch-event-source", fetchEventSource],
  "fetch-event-stream": ["fetch-event-stream", fetchEventStream],
  "parse-sse": ["parse-sse", parseSse],
  "@azure/core-sse": ["@azure/core-sse", azure],
  http: [null, nodeHttp],
  fetch: [null, nodeFetch],
  axios: ["axios", axios],
  "node-fetch": ["node-fetch", nodeFetch3],
  superagent: ["superagent", superagent],
};

function show(type, data, lastEventId) {
  const event = { type: type || "message", data: data ?? "", lastEventId: lastEventId ?? "" };
  process.stdout.write(JSON.stringify(event) + "\n");
}

function tell(error) {
  console.error("error:", error?.message ?? error?.error ?? error?.status ?? "");
}

function giveUp(error) {
  tell(error);
  process.exit(1);
}

function end() {
  console.error("end");
  process.exit(0);
}

// Every class with the interface of the browsers' EventSource.
function listen(EventSource, options) {
  const source = new EventSource(url, options);
  for (const type of types) {
    source.addEventListener(type, (event) => show(event.type, event.data, event.lastEventId));
  }
  source.addEventListener("error", (error) => {
    tell(error);
    // Some of them call this before they set their state.
    setImmediate(() => source.readyState === 2 && process.exit(1));
  });
  return source;
}

function launchdarkly({ EventSource }) {
  // The others call this an error.
  listen(EventSource).on("end", tell);
}

function reconnecting({ default: ReconnectingEventSource }, { EventSource }) {
  listen(ReconnectingEventSource, { eventSourceClass: EventSource });
}

function polyfill({ default: { EventSourcePolyfill } }) {
  listen(EventSourcePolyfill);
}

function eventsourceClient({ createEventSource }) {
  const source = createEventSource({
    url,
    onMessage: ({ event, data, id }) => show(event, data, id),
    onScheduleReconnect: ({ delay }) => tell({ message: `reconnects in ${delay} ms` }),
    // It sets its state after the call.
    onDisconnect: () => setImmediate(() => source.readyState === "closed" && giveUp()),
  });
}

function eventSourcePlus({ EventSourcePlus }) {
  const controller = new EventSourcePlus(url).listen({
    onMessage: ({ event, data, id }) => show(event, data, id),
    onRequestError: ({ error }) => tell(error),
    onResponseError: ({ error }) => tell(error),
  });
  controller.onAbort(({ reason }) => giveUp({ message: reason }));
}

async function fetchEventSource({ fetchEventSource }) {
  await fetchEventSource(url, {
    onmessage: ({ event, data, id }) => show(event, data, id),
    onerror: tell,
  });
  end();
}

async function fetchEventSourceInPage(module) {
  globalThis.window = globalThis;
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  await fetchEventSource(module);
}

async function fetchEventStream({ stream }) {
  for await (const { event, data, id } of await stream(url)) show(event, data, id);
  end();
}

async function parseSse({ parseServerSentEvents }) {
  const response = await fetch(url);
  for await (const { type, data, lastEventId } of parseServerSentEvents(response)) {
    show(type, data, lastEventId);
  }
  end();
}

async function azure({ createSseStream }) {
  for await (const { event, data, id } of createSseStream(await get())) show(event, data, id);
  end();
}

async function nodeHttp() {
  copy(await get());
}

async function nodeFetch() {
  for await (const chunk of (await fetch(url)).body) process.stdout.write(chunk);
  end();
}

async function axios({ default: axios }) {
  copy((await axios.get(url, { responseType: "stream" })).data);
}

async function nodeFetch3({ default: fetch }) {
  copy((await fetch(url)).body);
}

function superagent({ default: superagent }) {
  const request = superagent.get(url);
  request.on("error", giveUp).on("end", end).pipe(process.stdout);
}

// Asks with Node's own http.
function get() {
  return new Promise((resolve, reject) => http.get(url, resolve).on("error", reject));
}

function copy(stream) {
  stream.on("data", (chunk) => process.stdout.write(chunk)).on("end", end).on("error", giveUp);
}

function version([used, , other]) {
  const [own, under] = [used, other].map((specifier) => {
    if (!specifier) return;
    const directory = specifier === NEWER ? "newer/node_modules/eventsource" : `node_modules/${specifier}`;
    const file = new URL(`${directory}/package.json`, import.meta.url);
    const { name, version } = JSON.parse(readFileSync(file));
    return `${name} ${version}`;
  });
  return `${own ?? name}${under ? ` (${under})` : ""}, Node ${process.versions.node}`;
}

if (name === "--list") {
  console.log(Object.keys(clients).join("\n"));
} else if (url === "--version") {
  console.log(version(clients[name]));
} else {
  for (const variable of Object.keys(process.env)) {
    if (/_proxy$/i.test(variable)) delete process.env[variable];
  }
  process.stdin.resume().on("end", () => process.exit(0));
  const [used, run, other] = clients[name];
  await run(used && (await import(used)), other && (await import(other)));
}
