"""Runs one of many clients of a stream that is the answer to one request: `own.py NAME URL PROMPT`.

Each piece of text is printed as it comes, as a line of JSON; the last line is `end`, or `error` and its name.
`--list` prints all names, `NAME --version` what runs under a name.
"""

import asyncio
import json
import os
import platform
import sys
import traceback
from importlib import metadata

CLIENTS = {}


def client(name, *under):
    """Registers a client: the package that it is, and those below that it is used with."""

    def register(run):
        CLIENTS[name] = (run, (name.split("@")[0], *under))
        return run

    return register


def apart(name):
    """What needs other versions than its neighbours is installed beside them."""
    sys.path.insert(0, os.path.join(os.path.dirname(sys.prefix), name))


def say(text):
    if text:
        print(json.dumps(text), flush=True)


def asked(prompt):
    return [{"role": "user", "content": prompt}]


@client("openai")
def openai(url, prompt):
    from openai import OpenAI

    completions = OpenAI(base_url=url + "/v1", api_key="x", max_retries=0).chat.completions
    for chunk in completions.create(model="toy", messages=asked(prompt), stream=True):
        say(chunk.choices[0].delta.content)


@client("openai@async")
async def openai_async(url, prompt):
    from openai import AsyncOpenAI

    completions = AsyncOpenAI(base_url=url + "/v1", api_key="x", max_retries=0).chat.completions
    async for chunk in await completions.create(model="toy", messages=asked(prompt), stream=True):
        say(chunk.choices[0].delta.content)


@client("langchain-openai", "openai")
def langchain(url, prompt):
    from langchain_openai import ChatOpenAI

    for chunk in ChatOpenAI(model="toy", base_url=url + "/v1", api_key="x", max_retries=0).stream(prompt):
        say(chunk.content)


@client("llama-index-llms-openai-like", "openai")
def llama_index(url, prompt):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    toy = OpenAILike(model="toy", api_base=url + "/v1", api_key="x", is_chat_model=True, max_retries=0)
    for chunk in toy.stream_chat([ChatMessage(role="user", content=prompt)]):
        say(chunk.delta)


@client("llm", "openai")
def llm(url, prompt):
    from llm.default_plugins.openai_models import Chat

    for text in Chat("toy", api_base=url + "/v1", key="x").prompt(prompt, key="x"):
        say(text)


@client("pydantic-ai-slim", "openai")
async def pydantic_ai(url, prompt):
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(openai_client=AsyncOpenAI(base_url=url + "/v1", api_key="x", max_retries=0))
    async with Agent(OpenAIChatModel("toy", provider=provider)).run_stream(prompt) as answer:
        async for text in answer.stream_text(delta=True, debounce_by=None):
            say(text)


@client("litellm", "openai")
def litellm(url, prompt):
    import litellm

    answer = litellm.completion(
        model="openai/toy", api_base=url + "/v1", api_key="x", messages=asked(prompt), stream=True, max_retries=0
    )
    for chunk in answer:
        say(chunk.choices[0].delta.content)


@client("anthropic")
def anthropic(url, prompt):
    from anthropic import Anthropic

    messages = Anthropic(base_url=url, api_key="x", max_retries=0).messages
    for event in messages.create(model="toy", max_tokens=9, messages=asked(prompt), stream=True):
        if event.type == "content_block_delta":
            say(event.delta.text)


@client("mistralai")
def mistralai(url, prompt):
    try:
        from mistralai.client import Mistral
    except ImportError:
        from mistralai import Mistral

    with Mistral(api_key="x", server_url=url) as mistral:
        for event in mistral.chat.stream(model="toy", messages=asked(prompt)):
            say(event.data.choices[0].delta.content)


@client("ollama")
def ollama(url, prompt):
    from ollama import Client

    for part in Client(host=url).chat(model="toy", messages=asked(prompt), stream=True):
        say(part.message.content)


@client("google-genai")
def google(url, prompt):
    from google import genai

    toy = genai.Client(api_key="x", http_options={"base_url": url})
    for chunk in toy.models.generate_content_stream(model="toy", contents=prompt):
        say(chunk.text)


@client("gradio_client", "httpx")
def gradio(url, prompt):
    import time

    from gradio_client import Client

    toy = Client(url, verbose=False, download_files=False, analytics_enabled=False)
    job, said = toy.submit(prompt, api_name="/say"), 0
    # To iterate over it would not end where the answer breaks off.
    while not job.done() or said < len(job.outputs()):
        for text in job.outputs()[said:]:
            said += 1
            say(text)
        time.sleep(0.005)
    job.result()


@client("httpx-sse", "httpx")
def httpx_sse(url, prompt):
    import httpx
    from httpx_sse import connect_sse

    body = {"stream": True, "messages": asked(prompt)}
    with httpx.Client() as http, connect_sse(http, "POST", url + "/v1/chat/completions", json=body) as source:
        for event in source.iter_sse():
            if event.data != "[DONE]":
                chunk = event.json()
                if "error" in chunk:
                    raise RuntimeError(chunk["error"]["message"])
                say(chunk["choices"][0]["delta"].get("content"))


@client("mcp")
async def mcp(url, prompt):
    from mcp import ClientSession

    try:
        from mcp.client.streamable_http import streamable_http_client
    except ImportError:
        from mcp.client.streamable_http import streamablehttp_client as streamable_http_client

    async def progress(done, total, message):
        say(str(int(done)))

    async with streamable_http_client(url + "/mcp") as (read, write, *_):
        async with ClientSession(read, write) as session:
            await session.initialize()
            await session.list_tools()
            to = {"to": int(prompt)}
            result = await session.call_tool("count", to, progress_callback=progress)
            say(result.content[0].text)


def main(name, url, prompt=""):
    run, packages = CLIENTS[name]
    apart(name)
    if url == "--version":
        own, *under = (f"{package} {metadata.version(package)}" for package in packages)
        below = f" ({', '.join(under)})" if under else ""
        print(f"{own}{below}, Python {platform.python_version()}")
        return
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy"):
            del os.environ[variable]
    try:
        if asyncio.iscoroutinefunction(run):
            asyncio.run(run(url, prompt))
        else:
            run(url, prompt)
        print("end", flush=True)
    except BaseException as error:
        traceback.print_exc()
        print("error", type(error).__name__, flush=True)


if sys.argv[1] == "--list":
    print("\n".join(CLIENTS))
else:
    main(*sys.argv[1:])
