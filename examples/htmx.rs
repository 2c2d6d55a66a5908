//! Pages without a script of their own, by htmx 2, htmx 4 or datastar: a list to which everybody adds,
//! by a broadcast stream, and a report that comes piece by piece, by a response of its own.
//!
//! `cargo run --example htmx -- 127.0.0.1:8083 SCRIPTS`, then open <http://127.0.0.1:8083/>. SCRIPTS
//! is a folder with the libraries, under the names by which the pages below ask for them: `htmx2.js`
//! with its extension `htmx2-sse.js`, `htmx4.js` with its extension `htmx4-sse.js`, or `datastar.js`.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use websse::{
    Message, Server,
    event_type::GENERAL,
    http::{HttpServer, Request, Response},
};

/// How many notes are shown.
const SHOWN: usize = 20;

/// A broadcast stream says the whole list each time, and begins with how it is now: so nobody has a
/// note twice, or misses one, however the library reconnects.
const HTMX_2: &str = r#"<script src="/scripts/htmx2.js"></script>
<script src="/scripts/htmx2-sse.js"></script>
<section hx-ext="sse" sse-connect="/event?replay=1" sse-swap="message"><ul id="notes"></ul></section>
<form hx-post="/notes" hx-swap="none" hx-on::after-request="event.detail.successful && this.reset()">
<input name="text" required maxlength="200"> <button>add</button></form>
<button id="ask" hx-get="/htmx2/report" hx-target="next section">report</button>
<section id="here"><p id="report"></p></section>"#;

/// A stream is asked for by an element, here by that which is answered to the button. Without
/// `sse-close` it would ask again after the end, and have another report.
const HTMX_2_REPORT: &str =
    r#"<div hx-ext="sse" sse-connect="/report" sse-swap="message" sse-close="end"></div>"#;

/// Any request can be answered by a stream.
const HTMX_4: &str = r#"<script src="/scripts/htmx4.js"></script>
<script src="/scripts/htmx4-sse.js"></script>
<section hx-sse:connect="/event?replay=1"><ul id="notes"></ul></section>
<form hx-post="/notes" hx-swap="none" hx-on:htmx:after:request="event.detail.ctx.response?.raw.ok && this.reset()">
<input name="text" required maxlength="200"> <button>add</button></form>
<button id="ask" hx-get="/report" hx-target="next section">report</button>
<section id="here"><p id="report"></p></section>"#;

/// Any request can be answered by a stream. Elements are found by their ids.
const DATASTAR: &str = r#"<script type="module" src="/scripts/datastar.js"></script>
<section data-init="@get('/event?event=datastar-patch-elements&replay=1', {retry: 'always'})"><ul id="notes"></ul></section>
<form data-on:submit="@post('/notes', {contentType: 'form'}); el.reset()">
<input name="text" required maxlength="200"> <button>add</button></form>
<button id="ask" data-on:click="@get('/report')">report</button>
<section id="here"><p id="report"></p></section>"#;

const INDEX: &str =
    r#"<a href="/htmx2">htmx 2</a> <a href="/htmx4">htmx 4</a> <a href="/datastar">datastar</a>"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8083".into());
    let scripts = PathBuf::from(arguments.next().unwrap_or("scripts".into()));
    let server = Arc::new(Server::new());
    server.register_events([GENERAL, "datastar-patch-elements"])?;
    server.run()?;
    let (notes, publisher) = (Mutex::default(), Arc::clone(&server));
    let page = |body: &'static str| {
        let page = format!("<!doctype html><meta charset=\"utf-8\"><title>notes</title>\n{body}");
        move |_: &Request| Response::html(page.clone())
    };
    let http = HttpServer::new()
        .get("/", page(INDEX))
        .get("/htmx2", page(HTMX_2))
        .get("/htmx2/report", |_: &Request| Response::html(HTMX_2_REPORT))
        .get("/htmx4", page(HTMX_4))
        .get("/datastar", page(DATASTAR))
        .get("/scripts/*", move |request: &Request| script(&scripts, request.path()))
        .get("/event", server.event_stream_handler())
        .post("/notes", move |request: &Request| add(&notes, &publisher, request))
        .get("/report", report)
        .bind(address)?;
    println!("open http://{}/", http.local_addr().expect("it listens over TCP"));
    http.join();
    Ok(())
}

/// A fragment in both forms. Neither form disturbs the readers of the other one.
fn for_htmx(html: &str) -> Message {
    Message::new(html)
}

fn for_datastar(html: &str) -> Message {
    let lines: Vec<_> = html.lines().map(|line| format!("elements {line}")).collect();
    Message::new(lines.join("\n")).event("datastar-patch-elements")
}

fn add(notes: &Mutex<Vec<String>>, server: &Server, request: &Request) -> Response {
    let field = request.form().and_then(|mut form| form.find(|(name, _)| name == "text"));
    let Some((_, text)) = field.filter(|(_, text)| (1..=200).contains(&text.chars().count()))
    else {
        return Response::text(422, "a text of 200 characters at most, please");
    };
    // Held until the list is published, so that the lists come in their order.
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    notes.insert(0, escaped(&text));
    notes.truncate(SHOWN);
    let list = format!("<ul id=\"notes\"><li>{}</li></ul>", notes.join("</li><li>"));
    match server.publish_all(&[for_htmx(&list), for_datastar(&list)]) {
        Ok(_) => Response::new(204),
        Err(error) => Response::text(503, error.to_string()),
    }
}

/// Takes a second, and shows how far it is.
fn report(request: &Request) -> Response {
    let form = if request.header("datastar-request").is_some() { for_datastar } else { for_htmx };
    Response::events(move |out| {
        for percent in (0..100).step_by(10) {
            let bar = format!("<progress max=\"100\" value=\"{percent}\"></progress>");
            out.send(&form(&format!("<p id=\"report\">{bar}</p>")))?;
            out.wait(Duration::from_millis(100))?;
        }
        out.send(&form("<p id=\"report\">All is well.</p>"))?;
        // What `sse-close` names. The others need none: the end itself tells them.
        out.send_last(&Message::new("end").event("end"))
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn script(folder: &Path, path: &str) -> Response {
    let name = path.trim_start_matches("/scripts/");
    if !name.contains(['/', '\\', ':'])
        && let Ok(script) = fs::read(folder.join(name))
    {
        let form = "text/javascript; charset=utf-8";
        return Response::new(200).header("Content-Type", form).with_body(script);
    }
    Response::text(404, format!("{name} is not in the folder of scripts"))
}
