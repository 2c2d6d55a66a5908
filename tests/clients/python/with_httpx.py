"""httpx-sse, which leaves it to its user to reconnect and to resume."""

import sys
import time

import httpx
from httpx_sse import connect_sse

from show import exit_at_end_of_input, show

exit_at_end_of_input()
last_id = ""
with httpx.Client(timeout=None) as client:
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    show(event.event, event.data, event.id)
                    last_id = event.id
        except httpx.TransportError as error:
            print(repr(error), file=sys.stderr)
        time.sleep(0.02)
