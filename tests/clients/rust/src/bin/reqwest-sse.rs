use std::error::Error;

use clients::{arguments, exit_at_end_of_input, show};
use futures_util::StreamExt;
use reqwest::Client;
use reqwest_sse::EventSource;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (url, _) = arguments("reqwest-sse", Some("reqwest"));
    exit_at_end_of_input();
    let client = Client::builder().no_proxy().build()?;
    let mut events = client.get(url).send().await?.events().await?;
    while let Some(event) = events.next().await {
        let event = event?;
        show(&event.event_type, &event.data, event.last_event_id.as_deref().unwrap_or_default());
    }
    eprintln!("end");
    Ok(())
}
