import json
import os
import sys
import threading


def show(kind, data, last_event_id):
    """Prints an event as a line of JSON."""
    event = {"type": kind, "data": data, "lastEventId": last_event_id}
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.buffer.flush()


def exit_at_end_of_input():
    def wait():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
