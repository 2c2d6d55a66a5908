//! A language model behind the interface that `OpenAI`'s clients speak: whole answers and streams,
//! errors in mid-stream, and a model that stops when its reader leaves. This model is a toy: it
//! repeats what it was told, loses its thread at the word `fail`, and breaks off at the word `die`.
//!
//! `cargo run --example chat-completions --features json`, then
//! `curl -N http://127.0.0.1:8088/v1/chat/completions -d '{"stream": true, "messages":
//! [{"role": "user", "content": "to be or not to be"}]}'`

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::sync::mpsc::{self, Receiver};
use std::{io, thread, time::Duration};

use serde_json::{Value, json};
use websse::Message;
use websse::http::{EventWriter, HttpServer, Request, Response};

fn main() -> io::Result<()> {
    let http = serve(&std::env::args().nth(1).unwrap_or("127.0.0.1:8088".into()))?;
    println!("listens on http://{}/v1", http.local_addr().expect("it listens over TCP"));
    http.join();
    Ok(())
}

pub(crate) fn serve(address: &str) -> io::Result<HttpServer> {
    HttpServer::new()
        .get("/v1/models", models)
        .post("/v1/chat/completions", complete)
        .fallback(|request: &Request| refuse(404, &format!("nothing at {}", request.path())))
        .bind(address)
}

/// What the model says.
enum Said {
    Word(String),
    Error(String),
    End,
}

/// Lets the model think on a thread of its own.
fn think(prompt: String) -> Receiver<Said> {
    let (sender, said) = mpsc::sync_channel(16);
    thread::spawn(move || {
        for word in prompt.split_inclusive(' ') {
            thread::sleep(Duration::from_millis(20));
            let said = match word.trim() {
                "fail" => Said::Error("the model has lost its thread".into()),
                "die" => return,
                _ => Said::Word(word.into()),
            };
            // The reader has left, and its channel is gone with it.
            if sender.send(said).is_err() {
                println!("stopped before {word:?}");
                return;
            }
        }
        let _ = sender.send(Said::End);
    });
    said
}

fn complete(request: &Request) -> Response {
    let asked: Value = match request.json() {
        Ok(asked) => asked,
        Err(error) => return refuse(400, &format!("the body is not JSON: {error}")),
    };
    let last = asked["messages"].as_array().and_then(|messages| messages.last());
    let Some(said) = last.and_then(|message| text_of(&message["content"])).map(think) else {
        return refuse(400, "messages: at least one, with a text");
    };
    if asked["stream"] != true {
        return answer(&said);
    }
    let with_usage = asked["stream_options"]["include_usage"] == true;
    Response::events(move |out| stream(out, &said, with_usage))
}

/// A text, or the first one of several parts.
fn text_of(content: &Value) -> Option<String> {
    let text =
        content.as_str().or_else(|| content.as_array()?.iter().find_map(|it| it["text"].as_str()));
    text.map(str::to_owned)
}

fn stream(out: &mut EventWriter<'_>, said: &Receiver<Said>, with_usage: bool) -> io::Result<()> {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        Message::json(&head("chat.completion.chunk", &json!([choice]), &Value::Null))
    };
    out.heartbeat(Duration::from_secs(15)); // while the model thinks
    out.send(&chunk(json!({"role": "assistant", "content": ""}), Value::Null)?)?;
    let mut words = 0;
    loop {
        match out.recv(said)? {
            Some(Said::Word(word)) => {
                words += 1;
                out.send(&chunk(json!({"content": word}), Value::Null)?)?;
            }
            // Clients make an error of it. The stream itself is complete.
            Some(Said::Error(reason)) => return out.send_last(&Message::json(&problem(&reason))?),
            Some(Said::End) => break,
            // Without its last chunk the stream is an error as well, and not a short answer.
            None => return Err(io::Error::other("the model broke off")),
        }
    }
    out.send(&chunk(json!({}), json!("stop"))?)?;
    if with_usage {
        out.send(&Message::json(&head("chat.completion.chunk", &json!([]), &usage(words)))?)?;
    }
    out.send_last(&Message::new("[DONE]"))
}

fn answer(said: &Receiver<Said>) -> Response {
    let mut words = Vec::new();
    loop {
        match said.recv() {
            Ok(Said::Word(word)) => words.push(word),
            Ok(Said::Error(reason)) => return refuse(500, &reason),
            Ok(Said::End) => break,
            Err(_) => return refuse(500, "the model broke off"),
        }
    }
    let message = json!({"role": "assistant", "content": words.concat()});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    Response::json(200, &head("chat.completion", &json!([choice]), &usage(words.len())))
}

fn head(object: &str, choices: &Value, usage: &Value) -> Value {
    json!({"id": "chatcmpl-1", "object": object, "created": 1_700_000_000, "model": "toy",
           "choices": choices, "usage": usage})
}

fn usage(words: usize) -> Value {
    json!({"prompt_tokens": words, "completion_tokens": words, "total_tokens": 2 * words})
}

fn models(_: &Request) -> Response {
    let toy = json!({"id": "toy", "object": "model", "created": 0, "owned_by": "me"});
    Response::json(200, &json!({"object": "list", "data": [toy]}))
}

fn problem(reason: &str) -> Value {
    json!({"error": {"message": reason, "type": "server_error"}})
}

fn refuse(status: u16, reason: &str) -> Response {
    Response::json(status, &problem(reason))
}
