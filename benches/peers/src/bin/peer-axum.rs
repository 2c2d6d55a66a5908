//! axum as its documentation shows it: `response::sse` on tokio's threads, fed by a broadcast
//! channel.
//!
//! A client that falls more than 4096 events behind has missed some; its stream is ended, so that
//! it would come back. One that does not read delays nobody, and costs only what waits in the
//! channel and its own buffers.
//!
//! Its TLS is that of axum-server, which axum's own examples use.

use std::{convert::Infallible, future::IntoFuture, io, sync::Arc};

use axum::{
    Form, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{get, post},
};
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use futures_util::stream::{self, StreamExt};
use peers::{Published, Tls};
use tokio::net::TcpListener;

type Hub = Arc<peers::Hub<Event>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let hub: Hub = Arc::new(peers::Hub::new(peers::types()));
    let app = Router::new()
        .route("/event", get(listen))
        .route("/own", get(own))
        .route("/send", post(send))
        .with_state(hub);
    let listener = peers::listen()?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let tls = peers::tls()?;
    peers::announce(address, tls.as_ref().map(|tls| tls.address))?;
    let plain = axum::serve(listener, app.clone()).into_future();
    let Some(Tls { listener, config, .. }) = tls else { return plain.await };
    let config = RustlsConfig::from_config(Arc::new(config));
    let tls = from_tcp_rustls(listener, config)?.serve(app.into_make_service());
    tokio::try_join!(plain, tls).map(drop)
}

async fn listen(State(hub): State<Hub>, Query(query): Query<peers::Query>) -> impl IntoResponse {
    let events = hub.subscribe(&query).ok_or(StatusCode::BAD_REQUEST)?;
    let hello = stream::once(async { Ok(Event::default().comment("hello")) });
    let keep_alive = KeepAlive::new().interval(peers::HEARTBEAT);
    Ok::<_, StatusCode>(Sse::new(hello.chain(events)).keep_alive(keep_alive))
}

async fn own(Query(own): Query<peers::Own>) -> impl IntoResponse {
    Sse::new(own.messages().map(|data| Ok::<_, Infallible>(Event::default().data(data))))
}

async fn send(
    State(hub): State<Hub>,
    Query(query): Query<peers::Query>,
    Form(Published { data }): Form<Published>,
) -> Result<(), StatusCode> {
    hub.publish(&query, |name, id| Event::default().event(name).data(data).id(id))
        .ok_or(StatusCode::BAD_REQUEST)
}
