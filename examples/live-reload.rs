//! Serves a directory, and lets pages that show it reload when a file in it changes.
//!
//! `cargo run --example live-reload -- DIRECTORY`, open <http://127.0.0.1:8084/>, edit a file. The
//! directory is looked through five times a second, which needs nothing but the standard library.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{
    error::Error,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Component, Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use websse::{
    Message, Server,
    event_type::GENERAL,
    http::{HttpServer, Policy, Request, Response},
};

/// Stands at the end of each page. A page that may have missed a change, since this program was
/// restarted, gets a `stream-gap` and is loaded again too.
const RELOAD: &[u8] = b"<script>
  function listen(last) {
    const changes = new EventSource('/-/changes?last_event_id=' + encodeURIComponent(last))
    changes.addEventListener('stream-open', ({lastEventId}) => last = lastEventId || last)
    changes.addEventListener('stream-gap', () => location.reload())
    changes.onmessage = () => location.reload()
    // A browser reconnects by itself, unless an answer such as a proxy's 502 closes it for good.
    changes.onerror = () => changes.readyState === EventSource.CLOSED && setTimeout(listen, 3000, last)
  }
  listen('')
</script>";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or(".".into());
    let address = arguments.next().unwrap_or("127.0.0.1:8084".into());
    let server = Server::new();
    server.register_event(GENERAL)?;
    server.run()?;
    let root = PathBuf::from(directory);
    let (mut before, files) = (state(&root)?, root.clone());
    // Pages of other sites shall not read the files, whatever name they give to this address.
    let policy = Policy::default().allow_host("127.0.0.1")?.allow_host("localhost")?;
    let http = HttpServer::new()
        .policy(policy)
        .get("/-/changes", server.event_stream_handler())
        .get("/*", move |request: &Request| file(&files, request.path()))
        .bind(address)?;
    println!("open http://{}/", http.local_addr().expect("it listens over TCP"));
    loop {
        sleep(Duration::from_millis(200));
        // A file may go while it is looked at; the next look is better.
        let Ok(now) = state(&root) else { continue };
        if now != before {
            before = now;
            server.publish(Message::new("changed"))?;
        }
    }
}

/// A number that is another one when anything in the directory has changed.
fn state(directory: &Path) -> io::Result<u64> {
    let mut all = 0_u64;
    for entry in fs::read_dir(directory)? {
        let (entry, mut one) = (entry?, DefaultHasher::new());
        let metadata = entry.metadata()?;
        (entry.path(), metadata.len(), metadata.modified()?).hash(&mut one);
        let below = if metadata.is_dir() { state(&entry.path())? } else { 0 };
        // The order of entries means nothing.
        all = all.wrapping_add(one.finish()).wrapping_add(below);
    }
    Ok(all)
}

fn file(root: &Path, path: &str) -> Response {
    let path = Path::new(path.trim_start_matches('/'));
    if path.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Response::text(404, "there is nothing outside of the directory");
    }
    let mut path = root.join(path);
    if path.is_dir() {
        path.push("index.html");
    }
    let Ok(mut body) = fs::read(&path) else {
        return Response::text(404, "no such file");
    };
    let kind = match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    if kind.starts_with("text/html") {
        body.extend_from_slice(RELOAD);
    }
    Response::new(200)
        .header("Content-Type", kind)
        .header("Cache-Control", "no-store")
        .with_body(body)
}
