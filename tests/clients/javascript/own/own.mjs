// Runs one of many clients of a stream that is the answer to one request: `own.mjs NAME URL PROMPT`.
//
// Each piece of text is printed as it comes, as a line of JSON; the last line is `end`, or `error` and its name.
// `--list` prints all names, `NAME --version` what runs under a name.
import { readFileSync } from "node:fs";

const [name, url, prompt] = process.argv.slice(2);
const messages = [{ role: "user", content: prompt }];

// By name: the packages, of which the first is loaded, and how to run it.
const clients = {
  openai: [["openai"], openai],
  "@langchain/openai": [["@langchain/openai", "openai"], langchain],
  ai: [["ai", "@ai-sdk/openai-compatible"], ai],
  "ai@7": [["ai", "@ai-sdk/openai-compatible"], ai],
  "@anthropic-ai/sdk": [["@anthropic-ai/sdk"], anthropic],
  "eventsource-parser": [["eventsource-parser"], parser],
  fetch: [[], plainFetch],
  "graphql-sse": [["graphql-sse"], graphql],
  "@modelcontextprotocol/sdk": [["@modelcontextprotocol/sdk"], mcpSdk],
  "@modelcontextprotocol/client": [["@modelcontextprotocol/client"], mcpClient],
};

function say(text) {
  if (text) console.log(JSON.stringify(text));
}

async function openai() {
  const { default: OpenAI } = await import("openai");
  const { chat } = new OpenAI({ baseURL: `${url}/v1`, apiKey: "x", maxRetries: 0 });
  const stream = await chat.completions.create({ model: "toy", messages, stream: true });
  for await (const chunk of stream) say(chunk.choices[0]?.delta?.content);
}

async function langchain() {
  const { ChatOpenAI } = await import("@langchain/openai");
  const configuration = { baseURL: `${url}/v1` };
  const toy = new ChatOpenAI({ model: "toy", apiKey: "x", maxRetries: 0, configuration });
  for await (const chunk of await toy.stream(prompt)) say(chunk.content);
}

async function ai() {
  const { streamText } = await import("ai");
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  const toy = createOpenAICompatible({ name: "toy", baseURL: `${url}/v1` })("toy");
  const { fullStream } = streamText({ model: toy, prompt, maxRetries: 0, onError() {} });
  for await (const part of fullStream) {
    if (part.type === "text-delta") say(part.text);
    if (part.type === "error") throw part.error;
  }
}

async function anthropic() {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const sdk = new Anthropic({ baseURL: url, apiKey: "x", maxRetries: 0 });
  const stream = await sdk.messages.create({ model: "toy", max_tokens: 9, messages, stream: true });
  for await (const event of stream) if (event.type === "content_block_delta") say(event.delta.text);
}

async function post() {
  const body = JSON.stringify({ stream: true, messages });
  const answer = await fetch(`${url}/v1/chat/completions`, { method: "POST", body });
  return answer.body.pipeThrough(new TextDecoderStream());
}

function take(data) {
  if (data === "[DONE]") return;
  const chunk = JSON.parse(data);
  if (chunk.error) throw new Error(chunk.error.message);
  say(chunk.choices[0]?.delta.content);
}

async function parser() {
  const { EventSourceParserStream } = await import("eventsource-parser/stream");
  for await (const { data } of (await post()).pipeThrough(new EventSourceParserStream())) take(data);
}

async function plainFetch() {
  let text = "";
  for await (const piece of await post()) {
    const blocks = (text + piece).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) take(block.slice("data: ".length));
  }
}

async function graphql() {
  const { createClient } = await import("graphql-sse");
  const client = createClient({ url: `${url}/graphql`, retryAttempts: 0 });
  const query = "subscription Say($prompt: String!) { say(prompt: $prompt) }";
  for await (const { data, errors } of client.iterate({ query, variables: { prompt } })) {
    if (errors) throw new Error(errors[0].message);
    say(data.say);
  }
}

async function mcpSdk() {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  await count(Client, StreamableHTTPClientTransport, (client, call, options) => client.callTool(call, undefined, options));
}

async function mcpClient() {
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  await count(Client, StreamableHTTPClientTransport, (client, call, options) => client.callTool(call, options));
}

async function count(Client, Transport, callTool) {
  const client = new Client({ name: "test", version: "1" });
  await client.connect(new Transport(new URL(`${url}/mcp`)));
  await client.listTools();
  const call = { name: "count", arguments: { to: Number(prompt) } };
  const options = { onprogress: ({ progress }) => say(String(progress)), timeout: 20000 };
  const { content } = await callTool(client, call, options);
  say(content[0].text);
  await client.close();
}

function version(packages) {
  const [own, ...under] = packages.map((each) => {
    const file = new URL(`node_modules/${each}/package.json`, import.meta.url);
    return `${each} ${JSON.parse(readFileSync(file)).version}`;
  });
  return `${own ?? name}${under.length ? ` (${under})` : ""}, Node ${process.versions.node}`;
}

if (name === "--list") {
  console.log(Object.keys(clients).join("\n"));
} else if (url === "--version") {
  console.log(version(clients[name][0]));
} else {
  for (const variable of Object.keys(process.env)) {
    if (/_proxy$/i.test(variable)) delete process.env[variable];
  }
  try {
    await clients[name][1]();
    console.log("end");
  } catch (error) {
    console.error(error);
    console.log("error", error?.constructor?.name ?? "");
  }
  process.exit(0);
}
