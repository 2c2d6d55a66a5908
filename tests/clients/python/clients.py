"""Runs one of many clients as its users do: `clients.py NAME URL TYPE...`.

Each event is printed as a line of JSON. A client that does not parse events prints the body's bytes.
Everything else goes to the standard error. The program ends when its standard input ends.
`--list` prints all names, `NAME --version` what runs under a name.
"""

import asyncio
import os
import platform
import sys
import traceback
from importlib import metadata

from show import exit_at_end_of_input, show

CLIENTS = {}


def client(name, package, *under):
    """Registers a client: the package that it is, and those below that it is used with."""

    def register(run):
        CLIENTS[name] = (run, package, under)
        return run

    return register


def event(kind, data, last_event_id):
    show(kind or "message", data or "", last_event_id or "")


def body(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def tell(error):
    print("error:", repr(error), file=sys.stderr, flush=True)


def apart(name):
    """Where `apart.txt` says."""
    return os.path.join(sys.prefix, "apart", name)


@client("sseclient-py", "sseclient-py", "requests")
def sseclient_py(url):
    import requests
    import sseclient

    response = requests.get(url, stream=True)
    for e in sseclient.SSEClient(response).events():
        event(e.event, e.data, e.id)


@client("sseclient-py-urllib3", "sseclient-py", "urllib3")
def sseclient_py_urllib3(url):
    import sseclient
    import urllib3

    response = urllib3.PoolManager().request("GET", url, preload_content=False)
    for e in sseclient.SSEClient(response).events():
        event(e.event, e.data, e.id)


@client("requests-sse", "requests-sse", "requests")
def requests_sse(url):
    from requests_sse import EventSource

    with EventSource(url, on_error=lambda: tell("on_error")) as source:
        for e in source:
            event(e.type, e.data, e.last_event_id)


def iterate(module, url):
    # It prints its errors where the events go.
    module.print = tell
    for e in module.SSEClient(url):
        event(e.event, e.data, e.id)


@client("sseclient", "sseclient", "requests")
def sseclient(url):
    sys.path.insert(0, apart("sseclient"))
    import sseclient

    iterate(sseclient, url)


@client("stellar-base-sseclient", "stellar-base-sseclient", "requests")
def stellar(url):
    sys.path.insert(0, apart("stellar-base-sseclient"))
    import sseclient

    iterate(sseclient, url)


@client("filigran-sseclient", "filigran-sseclient", "requests")
def filigran(url):
    from filigran_sseclient import sseclient

    iterate(sseclient, url)


@client("launchdarkly-eventsource", "launchdarkly-eventsource", "urllib3")
def launchdarkly(url):
    from ld_eventsource import SSEClient

    for e in SSEClient(url).events:
        event(e.event, e.data, e.last_event_id)


@client("launchdarkly-eventsource-continue", "launchdarkly-eventsource", "urllib3")
def launchdarkly_continue(url):
    from ld_eventsource import SSEClient
    from ld_eventsource.actions import Event, Fault
    from ld_eventsource.config import ErrorStrategy

    for action in SSEClient(url, error_strategy=ErrorStrategy.always_continue()).all:
        if isinstance(action, Event):
            event(action.event, action.data, action.last_event_id)
        elif isinstance(action, Fault):
            tell(action.error)


@client("launchdarkly-eventsource-async", "launchdarkly-eventsource", "aiohttp")
async def launchdarkly_async(url):
    from ld_eventsource.async_client import AsyncSSEClient

    async with AsyncSSEClient(url) as source:
        async for e in source.events:
            event(e.event, e.data, e.last_event_id)


@client("httpx-sse", "httpx-sse", "httpx")
def httpx_sse(url):
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client() as session, connect_sse(session, "GET", url) as source:
        for e in source.iter_sse():
            event(e.event, e.data, e.id)


@client("httpx-sse-async", "httpx-sse", "httpx")
async def httpx_sse_async(url):
    import httpx
    from httpx_sse import aconnect_sse

    async with httpx.AsyncClient() as session:
        async with aconnect_sse(session, "GET", url) as source:
            async for e in source.aiter_sse():
                event(e.event, e.data, e.id)


@client("simple-sse-client", "simple-sse-client", "httpx")
def simple_sse_client(url):
    from simple_sse_client import stream

    for e in stream(url):
        event(e.event, e.data, e.id)


async def aiohttp_event_source(client, url):
    async with client.EventSource(url, on_error=lambda: tell("on_error")) as source:
        async for e in source:
            event(e.type, e.data, e.last_event_id)


@client("aiohttp-sse-client", "aiohttp-sse-client", "aiohttp")
async def aiohttp_sse_client(url):
    from aiohttp_sse_client import client

    await aiohttp_event_source(client, url)


@client("aiohttp-sse-client2", "aiohttp-sse-client2", "aiohttp")
async def aiohttp_sse_client2(url):
    from aiohttp_sse_client2 import client

    await aiohttp_event_source(client, url)


@client("aiosseclient", "aiosseclient", "aiohttp")
async def aiosseclient(url):
    from aiosseclient import aiosseclient

    async for e in aiosseclient(url):
        event(e.event, e.data, e.id)


@client("requests", "requests", "urllib3")
def requests_lines(url):
    import requests

    for line in requests.get(url, stream=True).iter_lines():
        body(line + b"\n")


@client("urllib3", "urllib3")
def urllib3_stream(url):
    import urllib3

    for chunk in urllib3.PoolManager().request("GET", url, preload_content=False).stream():
        body(chunk)


@client("aiohttp", "aiohttp")
async def aiohttp_content(url):
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(url) as response:
        async for line in response.content:
            body(line)


@client("urllib", None)
def urllib_read(url):
    from urllib.request import urlopen

    with urlopen(url) as response:
        while chunk := response.read1():
            body(chunk)


@client("httpie", "httpie", "requests")
def httpie(url):
    from httpie.context import Environment
    from httpie.core import main

    environment = Environment()
    # Else it asks its makers for a newer version.
    environment.config["disable_update_warnings"] = True
    if main(["http", "--stream", "--ignore-stdin", url], environment):
        # It has told the reason.
        sys.exit(1)


def version(name, package, under):
    # For what is not beside the others.
    sys.path.insert(0, apart(package or ""))
    text = f"{package} {metadata.version(package)}" if package else name
    if under:
        text += f" ({', '.join(f'{each} {metadata.version(each)}' for each in under)})"
    return f"{text}, Python {platform.python_version()}"


def main(name, url):
    run, package, under = CLIENTS[name]
    if url == "--version":
        print(version(name, package, under))
        return
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy"):
            del os.environ[variable]
    exit_at_end_of_input()
    status = 0
    try:
        if asyncio.iscoroutinefunction(run):
            asyncio.run(run(url))
        else:
            run(url)
        print("end", file=sys.stderr)
    except SystemExit:
        status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    # A usual end waits for the thread that reads the standard input.
    os._exit(status)


if sys.argv[1] == "--list":
    print("\n".join(CLIENTS))
else:
    main(*sys.argv[1:3])
