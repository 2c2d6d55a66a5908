use std::time::Duration;

use clients::{arguments, exit_at_end_of_input, show};
use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (url, _) = arguments("eventsource-client", Some("launchdarkly-sdk-transport"));
    exit_at_end_of_input();
    let delay = Duration::from_millis(20);
    let options = ReconnectOptions::reconnect(true).delay(delay).delay_max(delay).build();
    let client = ClientBuilder::for_url(&url).expect("an address").reconnect(options);
    let mut events =
        client.build_with_transport(HyperTransport::new().expect("a transport")).stream();
    while let Some(event) = events.next().await {
        match event {
            Ok(SSE::Event(event)) => {
                show(&event.event_type, &event.data, event.id.as_deref().unwrap_or_default());
            }
            Ok(SSE::Connected(_) | SSE::Comment(_)) => {}
            Err(error) => eprintln!("{error:?}"),
        }
    }
    panic!("it has given up");
}
