//! A server of tools for language models: the Model Context Protocol over Streamable HTTP (revision
//! 2025-11-25). One tool answers at once. The other one takes a while, reports its progress, and
//! goes on when its client is cut off: the client reads on where it was.
//!
//! `cargo run --example mcp --features json`, then add <http://127.0.0.1:8089/mcp> to a client.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::hash::{BuildHasher, RandomState};
use std::{error::Error, sync::Arc, thread, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};
use websse::http::{HttpServer, Policy, Request, Response};
use websse::{EventId, Message};

/// How many calls can be read on with.
const KEPT: usize = 100;

/// A call of a tool, with all that it has said. The last of it is the answer, which has an `id`.
#[derive(Clone)]
struct Call(String, Arc<Mutex<Vec<Value>>>);

/// The newest first.
type Calls = Arc<Mutex<Vec<Call>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let http = serve(&std::env::args().nth(1).unwrap_or("127.0.0.1:8089".into()))?;
    println!("listens on http://{}/mcp", http.local_addr().expect("it listens over TCP"));
    http.join();
    Ok(())
}

pub(crate) fn serve(address: &str) -> Result<HttpServer, Box<dyn Error>> {
    let calls = Calls::default();
    let older = Arc::clone(&calls);
    let http = HttpServer::new()
        .policy(Policy::default().allow_host("localhost")?)
        .post("/mcp", move |request: &Request| answer(&calls, request))
        .get("/mcp", move |request: &Request| resume(&older, request))
        .route("DELETE", "/mcp", |_: &Request| Response::new(204));
    Ok(http.bind(address)?)
}

fn answer(calls: &Calls, request: &Request) -> Response {
    let Ok(asked) = request.json::<Value>() else {
        return Response::text(400, "the body is not JSON");
    };
    let (id, params) = (&asked["id"], &asked["params"]);
    if id.is_null() || asked["method"].is_null() {
        return Response::new(202); // a notification, or an answer
    }
    let refuse = |code: i32, message: &str| {
        Response::json(200, &reply(id, "error", &json!({"code": code, "message": message})))
    };
    let result = match (asked["method"].as_str(), params["name"].as_str()) {
        (Some("initialize"), _) => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                                "serverInfo": {"name": "websse-example", "version": "1"}});
            let answer = Response::json(200, &reply(id, "result", &result));
            return answer.header("Mcp-Session-Id", random_name());
        }
        (Some("ping"), _) => json!({}),
        (Some("tools/list"), _) => {
            let numbers = json!({"a": {"type": "number"}, "b": {"type": "number"}});
            let count = tool("count", "Counts, ten a second.", &json!({"to": {"type": "integer"}}));
            json!({"tools": [tool("add", "Adds two numbers.", &numbers), count]})
        }
        (Some("tools/call"), Some("add")) => {
            let number = |name: &str| params["arguments"][name].as_f64().unwrap_or_default();
            text(&(number("a") + number("b")).to_string())
        }
        (Some("tools/call"), Some("count")) => return follow(count(calls, id.clone(), params), 0),
        (Some("tools/call"), _) => return refuse(-32602, "no tool of this name"),
        _ => return refuse(-32601, "no method of this name"),
    };
    Response::json(200, &reply(id, "result", &result))
}

/// Begins to count, whether or not the client stays.
fn count(calls: &Calls, id: Value, params: &Value) -> Call {
    let call = Call(random_name(), Arc::default());
    let mut kept = calls.lock();
    kept.insert(0, call.clone());
    kept.truncate(KEPT);
    let to = params["arguments"]["to"].as_u64().unwrap_or(10).min(100);
    let (token, said) = (params["_meta"]["progressToken"].clone(), Arc::clone(&call.1));
    thread::spawn(move || {
        for number in 1..=to {
            thread::sleep(Duration::from_millis(100));
            let progress = json!({"progressToken": token, "progress": number, "total": to});
            let note =
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress});
            said.lock().extend((!token.is_null()).then_some(note));
        }
        said.lock().push(reply(&id, "result", &text(&format!("counted to {to}"))));
    });
    call
}

/// Streams what a call says, after the first `have` messages. Each id tells how many the client has.
fn follow(Call(name, said): Call, mut have: usize) -> Response {
    Response::events(move |out| {
        let id = |have| EventId::new(format!("{name}.{have}")).map_err(std::io::Error::other);
        // From here on the client can resume: some do only from an event that has data.
        out.send(&Message::new("").id(id(have)?).retry(Duration::from_millis(500)))?;
        loop {
            let Some(message) = said.lock().get(have).cloned() else {
                out.wait(Duration::from_millis(20))?;
                continue;
            };
            have += 1;
            let event = Message::json(&message)?.id(id(have)?);
            if !message["id"].is_null() {
                return out.send_last(&event);
            }
            out.send(&event)?;
        }
    })
}

/// A client that was cut off comes back with the id of the last event that it has.
fn resume(calls: &Calls, request: &Request) -> Response {
    let Some(last) = request.last_event_id() else {
        return Response::text(405, "nothing to say unasked").header("Allow", "POST, DELETE");
    };
    let found = last.split_once('.').and_then(|(name, have)| {
        let call = calls.lock().iter().find(|call| call.0 == name)?.clone();
        Some(follow(call, have.parse().ok()?))
    });
    found.unwrap_or_else(|| Response::text(404, "nothing is known of this id"))
}

fn tool(name: &str, description: &str, properties: &Value) -> Value {
    let schema = json!({"type": "object", "properties": properties});
    json!({"name": name, "description": description, "inputSchema": schema})
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn reply(id: &Value, kind: &str, value: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, kind: value})
}

/// Nobody can guess it: whoever knows it reads on.
fn random_name() -> String {
    [0, 1].map(|half| format!("{:016x}", RandomState::new().hash_one(half))).concat()
}
