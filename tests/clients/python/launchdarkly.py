"""launchdarkly-eventsource over aiohttp, which reconnects and resumes by itself."""

import asyncio
import sys

from ld_eventsource.async_client import AsyncSSEClient
from ld_eventsource.config import ErrorStrategy, RetryDelayStrategy

from show import exit_at_end_of_input, show


async def main():
    client = AsyncSSEClient(
        sys.argv[1],
        # It leaves what the server says about that alone.
        initial_retry_delay=0.02,
        retry_delay_strategy=RetryDelayStrategy(),
        error_strategy=ErrorStrategy.always_continue(),
    )
    async for event in client.events:
        show(event.event, event.data, event.last_event_id)


exit_at_end_of_input()
asyncio.run(main())
