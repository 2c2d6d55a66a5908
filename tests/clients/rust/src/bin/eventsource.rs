use clients::{arguments, exit_at_end_of_input, show};
use eventsource::reqwest::Client;
use reqwest_0_10::blocking;

fn main() {
    let (url, _) = arguments("eventsource", Some("reqwest"));
    exit_at_end_of_input();
    let http = blocking::Client::builder().no_proxy().build().expect("a client");
    for event in Client::new_with_client(url.parse().expect("an address"), http) {
        match event {
            Ok(event) => {
                let kind = event.event_type.as_deref().unwrap_or("message");
                show(kind, &event.data, event.id.as_deref().unwrap_or_default());
            }
            // The next turn connects again.
            Err(error) => eprintln!("{error}"),
        }
    }
}
