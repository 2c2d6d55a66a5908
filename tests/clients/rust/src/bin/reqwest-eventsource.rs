use std::time::Duration;

use clients::{arguments, exit_at_end_of_input, show};
use futures_util::StreamExt;
use reqwest_eventsource::{Event, EventSource, retry::Constant};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (url, _) = arguments("reqwest-eventsource", Some("reqwest"));
    exit_at_end_of_input();
    let mut source = EventSource::get(url);
    // It takes a reconnection time from events only, not from the preamble.
    source.set_retry_policy(Box::new(Constant::new(Duration::from_millis(20), None)));
    while let Some(event) = source.next().await {
        match event {
            Ok(Event::Message(event)) => show(&event.event, &event.data, &event.id),
            Ok(Event::Open) => {}
            Err(error) => eprintln!("{error:?}"),
        }
    }
    panic!("it has given up");
}
