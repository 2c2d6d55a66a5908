//! Servers of answers in the forms of other makers: Anthropic, Google, Ollama, GraphQL over SSE, Gradio.

use std::io;
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};
use websse::Message;
use websse::http::{HttpServer, Request, Response};

use super::own::PACE;

/// All of them at one address.
pub(crate) fn serve() -> io::Result<HttpServer> {
    HttpServer::new()
        .post("/v1/messages", anthropic)
        .post("/api/chat", ollama)
        .post("/v1/models/*", google)
        .post("/graphql", graphql)
        .get("/config", |_: &Request| Response::json(200, &gradio_config()))
        .get("/info", |_: &Request| Response::json(200, &gradio_info()))
        .post("/queue/join", gradio_join)
        .get("/queue/data", gradio_data)
        .bind("127.0.0.1:0")
}

/// The words that were asked for, each sent as `word` says; then whether the answer has an error.
fn speak(asked: &str, mut send: impl FnMut(&str) -> io::Result<()>) -> io::Result<bool> {
    for word in asked.split_inclusive(' ') {
        thread::sleep(PACE);
        match word.trim() {
            "die" => return Err(io::Error::other("on purpose")),
            "fail" => return Ok(true),
            _ => send(word)?,
        }
    }
    Ok(false)
}

fn prompt(request: &Request) -> String {
    let body: Value = request.json().unwrap();
    let places = [
        &body["messages"][0]["content"],
        &body["contents"][0]["parts"][0]["text"],
        &body["variables"]["prompt"],
        &body["data"][0],
    ];
    places.into_iter().find_map(Value::as_str).unwrap().to_owned()
}

fn anthropic(request: &Request) -> Response {
    let asked = prompt(request);
    Response::events(move |out| {
        let mut send = |event: Value| {
            let kind = event["type"].as_str().unwrap().to_owned();
            out.send(&Message::json(&event)?.event(kind))
        };
        let usage = json!({ "input_tokens": 1, "output_tokens": 1 });
        let message = json!({ "id": "m", "type": "message", "role": "assistant", "content": [],
            "model": "toy", "stop_reason": null, "stop_sequence": null, "usage": usage });
        send(json!({ "type": "message_start", "message": message }))?;
        let block = json!({ "type": "text", "text": "" });
        send(json!({ "type": "content_block_start", "index": 0, "content_block": block }))?;
        let failed = speak(&asked, |word| {
            let delta = json!({ "type": "text_delta", "text": word });
            send(json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
        })?;
        if failed {
            let error = json!({ "type": "overloaded_error", "message": "on purpose" });
            return send(json!({ "type": "error", "error": error }));
        }
        send(json!({ "type": "content_block_stop", "index": 0 }))?;
        let delta = json!({ "stop_reason": "end_turn", "stop_sequence": null });
        send(json!({ "type": "message_delta", "delta": delta, "usage": usage }))?;
        send(json!({ "type": "message_stop" }))
    })
}

fn google(request: &Request) -> Response {
    let asked = prompt(request);
    Response::events(move |out| {
        let failed = speak(&asked, |word| {
            let content = json!({ "role": "model", "parts": [{ "text": word }] });
            out.send(&Message::json(&json!({ "candidates": [{ "content": content }] }))?)
        })?;
        let error =
            json!({ "error": { "code": 500, "message": "on purpose", "status": "INTERNAL" } });
        if failed { out.send(&Message::json(&error)?) } else { Ok(()) }
    })
}

fn ollama(request: &Request) -> Response {
    let asked = prompt(request);
    Response::stream("application/x-ndjson", move |out| {
        let part = |text: &str, done: bool| {
            let message = json!({ "role": "assistant", "content": text });
            json!({ "model": "toy", "message": message, "done": done }).to_string() + "\n"
        };
        let failed = speak(&asked, |word| out.send(part(word, false)))?;
        out.send(if failed { "{\"error\":\"on purpose\"}\n".to_owned() } else { part("", true) })
    })
}

fn graphql(request: &Request) -> Response {
    let asked = prompt(request);
    Response::events(move |out| {
        let mut next = |it: &Value| out.send(&Message::json(it)?.event("next"));
        let failed = speak(&asked, |word| next(&json!({ "data": { "say": word } })))?;
        if failed {
            next(&json!({ "errors": [{ "message": "on purpose" }] }))?;
        }
        out.send(&Message::new("").event("complete"))
    })
}

fn gradio_config() -> Value {
    let text = |id: u32| json!({ "id": id, "type": "textbox" });
    let say =
        json!({ "id": 0, "api_name": "say", "inputs": [1], "outputs": [2], "backend_fn": true });
    json!({ "version": "5.0.0", "protocol": "sse_v1", "connect_heartbeat": false,
        "components": [text(1), text(2)], "dependencies": [say] })
}

fn gradio_info() -> Value {
    let parameter = json!({ "label": "prompt", "parameter_name": "prompt", "component": "Textbox",
        "parameter_has_default": false, "python_type": { "type": "str" }, "type": { "type": "string" } });
    let say = json!({ "parameters": [parameter], "returns": [] });
    json!({ "named_endpoints": { "/say": say }, "unnamed_endpoints": {} })
}

/// It asks by one request, and reads the answer by another.
static ASKED_OF_GRADIO: Mutex<String> = Mutex::new(String::new());

fn gradio_join(request: &Request) -> Response {
    *ASKED_OF_GRADIO.lock().unwrap() = prompt(request);
    Response::json(200, &json!({ "event_id": "one" }))
}

fn gradio_data(_: &Request) -> Response {
    let asked = ASKED_OF_GRADIO.lock().unwrap().clone();
    Response::events(move |out| {
        let mut send = |state: &str, output: Value, success: bool| {
            let event =
                json!({ "msg": state, "event_id": "one", "output": output, "success": success });
            out.send(&Message::json(&event)?)
        };
        let failed =
            speak(&asked, |word| send("process_generating", json!({ "data": [word] }), true))?;
        let output =
            if failed { json!({ "error": "on purpose" }) } else { json!({ "data": [""] }) };
        send("process_completed", output, !failed)
    })
}
