//! actix-web with the `sse` responder of actix-web-lab, by the same people, fed by a broadcast
//! channel.
//!
//! What answers one request is a streaming body of actix-web itself.
//!
//! A client that falls more than 4096 events behind has missed some; its stream is ended, so that
//! it would come back. One that does not read delays nobody here. (The example that actix publishes
//! waits for room in the channels of all clients, and so for the one that does not read.)
//!
//! A publisher must not send more than some 120 KiB of requests ahead of their answers: actix reads
//! 128 KiB at most, and closes the connection when it answers while only a part of a later request's
//! body has come (seen with actix-http 3.12 and 3.20).

use std::{convert::Infallible, io, time::Duration};

use actix_web::{
    App, HttpResponse, HttpServer, Responder, error, get, post,
    web::{Bytes, Data, Form, Query},
};
use actix_web_lab::sse::{self, Event, Sse};
use futures_util::StreamExt;
use peers::{Published, Tls};

type Hub = Data<peers::Hub<Event>>;

const RETRY: Duration = Duration::from_secs(3);
/// The default of 5 s would close a publisher's connection between two scenarios.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

#[actix_web::main]
async fn main() -> io::Result<()> {
    let hub: Hub = Data::new(peers::Hub::new(peers::types()));
    let listener = peers::listen()?;
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new().app_data(hub.clone()).service(listen).service(own).service(send)
    })
    .keep_alive(KEEP_ALIVE)
    .listen(listener)?;
    let tls = peers::tls()?;
    let tls_address = tls.as_ref().map(|tls| tls.address);
    let server = match tls {
        None => server.run(),
        Some(Tls { listener, config, .. }) => server.listen_rustls_0_23(listener, config)?.run(),
    };
    peers::announce(address, tls_address)?;
    server.await
}

#[get("/event")]
async fn listen(hub: Hub, query: Query<peers::Query>) -> actix_web::Result<impl Responder> {
    let events = hub.subscribe(&query).ok_or_else(no_such_type)?;
    Ok(Sse::from_stream(events).with_retry_duration(RETRY).with_keep_alive(peers::HEARTBEAT))
}

#[get("/own")]
async fn own(own: Query<peers::Own>) -> impl Responder {
    let blocks = own.messages().map(|data| Bytes::from(format!("data: {data}\n\n")));
    HttpResponse::Ok().content_type("text/event-stream").streaming(blocks.map(Ok::<_, Infallible>))
}

#[post("/send")]
async fn send(
    hub: Hub,
    query: Query<peers::Query>,
    form: Form<Published>,
) -> actix_web::Result<impl Responder> {
    let data = form.into_inner().data;
    hub.publish(&query, |name, id| sse::Data::new(data).event(name).id(id).into())
        .ok_or_else(no_such_type)?;
    Ok("")
}

fn no_such_type() -> actix_web::Error {
    error::ErrorBadRequest("no such event type")
}
