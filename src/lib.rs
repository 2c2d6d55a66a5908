//! Server-Sent Events for synchronous Rust programs: no async runtime, no `unsafe`, four
//! dependencies.
//!
//! Register event types, run the broadcaster, mount two handlers, publish. Browsers and `curl -N`
//! listen.
//!
//! ```
//! use websse::{Message, Server, event_type::GENERAL, http::HttpServer};
//!
//! let server = Server::new();
//! server.register_events([GENERAL, "event1", "event2"])?;
//! server.run()?; // the broadcaster thread
//!
//! let http = HttpServer::new()
//!     // curl -N 'localhost:8080/event?event=event1'
//!     .get("/event", server.event_stream_handler())
//!     // curl -X POST 'localhost:8080/send?event=event1&data=hi'
//!     .post("/send", server.send_message_handler())
//!     .bind("127.0.0.1:0")?;
//!
//! server.publish(Message::new("data").event("event1"))?; // later clients add &replay=1
//! # drop(http);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | you want | section |
//! |---|---|
//! | events for all that listen | [Events and their types](#events-and-their-types) |
//! | events for one user, job or room | [Channels](#channels) |
//! | the answer to one request, as it comes to be | [One request, one stream](#one-request-one-stream) |
//! | pages that begin with what is now | [The last value](#the-last-value) |
//! | tokens and cookies | [Access control](#access-control) |
//! | to run behind nginx or another proxy | [Behind a proxy](#behind-a-proxy) |
//! | to test what is published | [Testing](#testing) |
//! | to learn which clients come and go | [Single clients](#single-clients) |
//! | to end in good order | [Shutting down](#shutting-down) |
//! | it within the server that you have | [Another server](#another-server) |
//! | pages and programs that listen | [Browsers](#browsers), [Other clients](#other-clients) |
//! | what you can rely on, and its limits | [What is guaranteed](#what-is-guaranteed), and what follows it |
//!
//! # Events and their types
//!
//! A [`Message`] has data and, if you want them, an event type, an id and a reconnection time. An
//! event type must be [registered](Server::register_event) before it can be published or listened
//! to. So a misspelt name is an error on both sides. The [general](event_type::GENERAL) type, `""`
//! or `message`, is what a browser's `onmessage` receives.
//!
//! # Channels
//!
//! An event type says what an event is, a [channel](Message::channel) for whom it is: a user, a
//! job, a room. Without one an event is for the common channel. Channels are not registered: the
//! first message or client makes one, and it ends when nobody needs it any more. There may be a
//! [hundred thousand](Builder::max_channels) of them, and those that are idle cost nothing but some
//! hundred bytes of memory.
//!
//! ```
//! use websse::{Channels, Denied, Message, Server, http::{HttpServer, Request}};
//! # fn user_of(_: &Request) -> Option<u32> { None }
//!
//! let server = Server::new();
//! server.register_event("progress")?;
//! server.run()?;
//! let stream = server.event_stream_handler().channels(|request| {
//!     let user = user_of(request).ok_or(Denied::unauthorized("log in first"))?;
//!     let channels = Channels::new([String::new(), format!("user/{user}")]);
//!     channels.map_err(Denied::from)
//! });
//! let http = HttpServer::new().get("/event", stream).bind("127.0.0.1:0")?;
//! server.publish(Message::new("42 %").event("progress").channel("user/17"))?;
//! # drop(http);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To which channels a client listens is the server's [decision](EventStreamHandler::channels), or,
//! where you [allow](EventStreamHandler::client_channels) it, the client's: `?channel=NAME`. The
//! client's event types choose within its channels. All channels have one order of events with the
//! common one, so a client that comes back is sent what it missed in each of them, or a
//! `stream-gap`. What is known of a channel is forgotten when nobody listens, none of its events is
//! kept, and the history no longer reaches back to when its last client left. A client that comes
//! back later than that may be told of a gap although it has missed nothing.
//!
//! # One request, one stream
//!
//! The tokens of a language model, the progress of an export, the answer of a tool: these are for
//! one client, and end. No [`Server`] is needed for them. [`http::Response::events`] takes a
//! closure that writes the answer to one request, on its connection's own thread, as it comes to
//! be:
//!
//! ```
//! use std::{sync::mpsc, thread, time::Duration};
//! use websse::{Message, http::{HttpServer, Request, Response}};
//!
//! let http = HttpServer::new()
//!     // curl -N -d 'to be or not to be' localhost:8080/words
//!     .post("/words", |request: &Request| {
//!         let text = String::from_utf8_lossy(request.body()).into_owned();
//!         Response::events(move |out| {
//!             let (sender, words) = mpsc::sync_channel(16);
//!             // It ends when the closure has ended, as its channel is closed then.
//!             thread::spawn(move || {
//!                 text.split(' ').try_for_each(|word| sender.send(word.to_owned()))
//!             });
//!             out.heartbeat(Duration::from_secs(15));
//!             while let Some(word) = out.recv(&words)? {
//!                 out.send(&Message::new(word))?;
//!             }
//!             out.send_last(&Message::new("[DONE]"))
//!         })
//!     })
//!     .bind("127.0.0.1:0")?;
//! # drop(http);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! - **Nothing is added.** What goes over the wire is what the program sends: no first block, no
//!   ids, no heartbeats that it has not asked for. Each call is one write, at once.
//! - **The end tells the truth.** `Ok` ends the body, and the connection serves the next request.
//!   An error or a panic cuts the body off, which is an error for the client too. So pass errors on
//!   with `?`, and never turn a failure into `Ok`. A failure that the client's protocol has words
//!   for is sent in these words, and the body ended in order.
//! - **A client that leaves is noticed** within 0.1 s, also while nothing is sent:
//!   [`wait`](http::EventWriter::wait) and [`recv`](http::EventWriter::recv) return an error then,
//!   and [`is_gone`](http::EventWriter::is_gone) tells at any time.
//! - **It is bounded.** Each such stream holds a thread:
//!   [`Limits::streams_of_own`](http::Limits::streams_of_own), 256 by default. A slow reader makes
//!   a call wait for at most the [write time-out](http::Limits::write_timeout). A shutdown lets it
//!   end until its deadline, or ends it at once if it [has no end](http::EventWriter::has_no_end).
//!
//! [`Response::stream`](http::Response::stream) is the same for any other type, lines of JSON for
//! example. The examples `chat-completions` (for clients of `OpenAI`), `mcp` (the Model Context
//! Protocol) and `htmx` (pages by htmx or datastar) are made to be copied.
//!
//! What the consumers of such streams want, as seen with each of them:
//!
//! | consumer | wants |
//! |---|---|
//! | `openai` 3.57 for Python, and `langchain-openai` 1.7, `litellm` 1.110, `llama-index`, `pydantic-ai`, `llm` over it | data in every block: an id or `retry` alone, or a comment with a blank line, is an error; ids beside data are fine. An error is `{"error":{...}}` as data |
//! | `openai` 6.49 and `@langchain/openai` 1.5 for Node | no event with empty data. Waits for the end of the body after `[DONE]`: [`send_last`](http::EventWriter::send_last) |
//! | `anthropic` 2.14 for Python, `@anthropic-ai/sdk` 1.14 | the `event` line; without it the answer is silently empty. An error is the event `error` |
//! | `ai` 6.0 and 7.0 for Node | in its own streams every event is JSON of a known type, an error `{"type":"error","errorText":...}`; ends need not be told |
//! | `google-genai` 3.6, `gradio_client` 2.7 | nothing but `data: ...` in one line and a blank line: no comments, ids or types |
//! | `mistralai` 3.7 | the status 200 and the type `text/event-stream` exactly |
//! | `ollama` 0.6 | lines of JSON: [`Response::stream`](http::Response::stream) |
//! | `mcp` 2.3 for Python, `rmcp` 3.11 | resume from any id; a request's answer that does not come is asked for with `Last-Event-ID` |
//! | `@modelcontextprotocol/sdk` 1.32, `client` 2.4 | an id with a `data` line, even if it is empty, or they do not resume and wait for their time-out |
//! | `httpx-sse` 0.4 | an id, `retry` or a comment with a blank line behind it is an empty event |
//! | `graphql-sse` 2.6 | the events `next` and `complete`, and no other |
//! | htmx 2.0 with its extension 2.2 | no end: it comes back after an end, for ever, until the event of `sse-close` |
//! | htmx 4.0 | events without a type: it swaps no others |
//! | datastar 1.0 | the events `datastar-patch-elements` and `datastar-patch-signals`; a clean end is the end |
//!
//! # The last value
//!
//! What has a state, such as a dashboard, begins with it: `?replay=each` sends the last event of
//! each type in each of the client's channels, and then what follows. A page needs no other
//! request:
//!
//! ```js
//! const events = new EventSource('/event?event=temperature&event=door&replay=each')
//! ```
//!
//! `?replay=10` sends the last ten events of all that the client listens to. How much is kept is
//! set by [`history_events`](Builder::history_events) and its neighbours. Within the program,
//! [`replay`](SubscriptionBuilder::replay) and [`replay_each`](SubscriptionBuilder::replay_each) do
//! the same.
//!
//! # Access control
//!
//! By default every client that reaches the server may listen and publish. The exception is pages
//! of other origins: [`http::Policy`] refuses their POSTs.
//! [`authorize`](EventStreamHandler::authorize) lets your program decide;
//! [`streams_per_address`](EventStreamHandler::streams_per_address) limits each client. Every page
//! that a user visits can reach a server on that user's `127.0.0.1`: name the hosts that the server
//! answers to ([`Policy::allow_host`](http::Policy::allow_host)). Leave TLS to a proxy.
//!
//! The `websse` command, with the tokens `pub` to publish, `sub` to listen, and `news=paper` to
//! listen to the type `news` only, answers with these statuses:
//!
//! | | no token | a wrong one | `paper` | `pub` | `sub` |
//! |---|---|---|---|---|---|
//! | `GET /event?event=news` | 401 | 401 | 200 | 401 | 200 |
//! | `GET /event?event=other` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event?event=*` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event?event=news&event=other` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event?event=unknown` | 401 | 401 | 403 | 401 | 400 |
//! | `POST /send?event=news` | 401 | 401 | 401 | 200 | 401 |
//! | `POST /send?event=other` | 401 | 401 | 401 | 200 | 401 |
//! | `POST /send?data=hello` | 401 | 401 | 401 | 200 | 401 |
//! | `GET /stats` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /metrics` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /healthz` | 200 | 200 | 200 | 200 | 200 |
//! | `GET /` | 200 | 200 | 200 | 200 | 200 |
//!
//! # Behind a proxy
//!
//! Streams send `X-Accel-Buffering: no` and `Cache-Control: no-transform`, which nginx and others
//! follow, so that events pass at once. The proxy must allow a stream to be silent for longer than
//! the [heartbeat](Builder::heartbeat); most do by default.
//!
//! A browser's `EventSource` closes for good if the proxy answers 502 or 503 while your program is
//! restarted. Let the proxy wait meanwhile, or answer as below; or make a new `EventSource`, as
//! [below](crate#browsers).
//!
//! A POST that a proxy sends over a kept connection is lost if the server closes it in the same
//! moment: the proxy answers 502. So the server keeps idle connections for
//! [130 s](http::Limits::idle_timeout), longer than nginx, Traefik and Caddy do. If your proxy
//! keeps its connections longer (Envoy, Node's agents), have it close them earlier.
//!
//! The folder `examples/proxies` has short, tested configurations for nginx, haproxy, Caddy,
//! Traefik, Envoy, Apache, Varnish and lighttpd, and for the development servers of Vite and
//! webpack. Its README tells what each proxy does, and what goes wrong without which line. They are
//! for the command as `websse --allow-host hub.example --trusted-proxy 127.0.0.1`, which takes the
//! clients' addresses and the requested host from the proxy. This is nginx's, tested with 1.22 and
//! 1.31:
//!
#![doc = concat!("```nginx\n", include_str!("../examples/proxies/nginx.conf"), "```")]
//!
//! # Testing
//!
//! Your tests need no socket to see what was published. A [`Subscription`] receives everything that
//! is published from then on. Each of its frames is one block of the stream. If the frame is an
//! [event](Frame::is_event), it has a [type](Frame::event), [data](Frame::data) and an
//! [id](Frame::id):
//!
//! ```
//! use std::time::Duration;
//! use websse::{Frame, Message, PublishError, Published, Server, event_type::ALL};
//!
//! // What is to be tested.
//! fn sell(server: &Server, price: u32) -> Result<Published, PublishError> {
//!     server.publish(Message::new(price.to_string()).event("sold"))
//! }
//!
//! let server = Server::new();
//! server.register_event("sold")?;
//! server.run()?;
//! let mut events = server.subscribe([ALL])?;
//! sell(&server, 3)?;
//! let event = events.next_event(Duration::from_secs(5))?;
//! assert_eq!((event.event(), event.data().as_str()), ("sold", "3"));
//!
//! // To see that nothing else comes needs no wait: a shutdown delivers all there is, and ends it.
//! sell(&server, 4)?;
//! server.shutdown(Duration::from_secs(5));
//! let rest: Vec<_> = events.filter(Frame::is_event).map(|event| event.data()).collect();
//! assert_eq!(rest, ["4"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To test your handlers, make a [`Request`](http::Request::new) by hand; to test over sockets,
//! `bind` to port 0.
//!
//! # Single clients
//!
//! [`on_connect`](Builder::on_connect) and [`on_disconnect`](Builder::on_disconnect) call your
//! program when a client has come and when it is gone. [`send_to`](Server::send_to) sends a message
//! to one client, [`disconnect`](Server::disconnect) disconnects one, and
//! [`presence`](Builder::presence) publishes the number of clients.
//!
//! ```
//! use websse::{Message, Server};
//!
//! let server = Server::builder()
//!     .on_connect(|server, client| {
//!         let hello = Message::new(format!("hello, number {}", client.id));
//!         // Refused where it has left again.
//!         let _ = server.send_to(client.id, hello);
//!     })
//!     .on_disconnect(|_, client, reason| eprintln!("{:?} has left: {reason:?}", client.peer))
//!     .presence("clients")
//!     .build();
//! # drop(server);
//! ```
//!
//! # Shutting down
//!
//! ```
//! # use std::time::Duration;
//! # use websse::{Server, http::HttpServer};
//! # let server = Server::new();
//! # server.run()?;
//! # let http = HttpServer::new().bind("127.0.0.1:0")?;
//! # let (stop, stopped) = std::sync::mpsc::channel();
//! # stop.send(())?; // in a program: ctrlc::set_handler(move || stop.send(()).unwrap())
//! stopped.recv()?; // instead of http.join(), which waits until another thread shuts it down
//! http.shutdown(Duration::from_secs(1)); // answers what is on its way
//! server.shutdown(Duration::from_secs(10)); // delivers what was accepted, ends the streams
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Another server
//!
//! If your program has a synchronous HTTP server already, [`Server::subscribe`] gives a blocking
//! [`Subscription`]: an iterator of frames that can also write itself to any connection
//! ([`stream_to`](Subscription::stream_to)), or be read as bytes
//! ([`into_reader`](Subscription::into_reader)). It takes a thread for each client. See the
//! examples `embed-subscription` (`tiny_http` 0.12), `embed-touche` (`touche` 0.0.15) and
//! `embed-listener` (a bare `TcpListener`).
//!
//! `rouille` 3.6 and `astra` 0.4 hold a streamed body back: in a test with an event a second, none
//! came out within twelve seconds. Beside these, and beside any other server, an
//! [`http::HttpServer`] can listen on its own port, and allow the pages of the other server to use
//! it:
//!
//! ```
//! use websse::{Server, event_type::GENERAL, http::{HttpServer, Policy}};
//!
//! # let (own, pages) = ("127.0.0.1:0", "http://localhost:8000");
//! let server = Server::new();
//! server.register_event(GENERAL)?;
//! server.run()?;
//! let http = HttpServer::new()
//!     .policy(Policy::default().allow_origin(pages)?) // such as http://localhost:8000
//!     .get("/event", server.event_stream_handler())
//!     .bind(own)?; // such as 127.0.0.1:8001: new EventSource('http://localhost:8001/event')
//! # drop(http);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Browsers
//!
//! `EventSource` reconnects by itself, after the time that [`retry`](Builder::retry) sets, as long
//! as the answer is a stream. Any other status ends it for good. Therefore the server refuses for
//! now (too many clients, a shutdown) by a stream that gives the reason and ends. But a proxy's 502
//! ends it too, and Firefox gives up when the machine has no network for a while. Then its
//! `readyState` is `CLOSED`, and the id that it held is gone. A few lines go on where it ended:
//!
//! ```js
//! function listen(lastId) {
//!   const after = encodeURIComponent(lastId)
//!   const events = new EventSource('/event?event=news&last_event_id=' + after)
//!   events.addEventListener('stream-open', ({ lastEventId }) => {
//!     lastId = lastEventId || lastId // a refusal has none
//!   })
//!   events.addEventListener('news', ({ data, lastEventId }) => {
//!     lastId = lastEventId
//!     // use the data
//!   })
//!   events.onerror = () => {
//!     if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000, lastId)
//!   }
//! }
//! listen('')
//! ```
//!
//! A browser opens at most six connections to one HTTP/1.1 server, for all its tabs together. A
//! stream holds one; with six streams open everything else waits. There are three ways out: give a
//! page one stream of several types (`?event=a&event=b`) instead of several streams; let tabs share
//! one by a `SharedWorker` (HTML standard, 9.2.7); or put a proxy that speaks HTTP/2 in front,
//! which lifts that limit. The command's live page closes its stream when it has been hidden for
//! three minutes, and goes on with its last id when it is shown.
//!
//! `EventSource` sends cookies, but no header fields that the page chooses: put a token into a
//! cookie, or into the query, where proxies log it. A token that ends can end its stream
//! ([`Channels::until`]). The browser then comes back by itself, with the cookie that it has by
//! then: renew it before. If the answer is 401, the browser gives up, and the page has to open a
//! new `EventSource`, which knows no last id: pass it on as `?last_event_id=`.
//!
//! What the three engines do, in tests by `WebDriver` with Firefox ESR 153.8, `WebKitGTK` 2.50.6
//! and Chromium 156:
//!
//! | | Firefox | `WebKit` | Chromium |
//! |---|---|---|---|
//! | reconnects, without `retry`, after | 5 s | 3 s | 3 s |
//! | the shortest `retry` that it keeps | 0.5 s | 0 | 0 |
//! | notes the `id` of a block without data | no | no | yes |
//! | half an event before a cut | dropped | begins the next connection; `stream-open` ends it | dropped |
//! | a server that vanishes while nothing is sent, noticed after | 11 s in a stream's first minute, then 10 minutes and more | never | 449 s |
//! | a machine without a network | closed for good | reconnects | reconnects |
//! | back to a page that was left | loaded anew | a new stream with the last id | the same stream: it was never closed |
//! | an event of 16 MiB in one line | 10 to 17 s | 53 to 92 s | 2 s |
//!
//! # Other clients
//!
//! Some eighty clients in twelve languages are tried against the command; `tests/clients/README.md`
//! in the repository says what each does after a cut and a restart. What they need:
//!
//! - Clients that give up in silence ask for frequent heartbeats with `?heartbeat=4`: `httpx` and
//!   what is made of it (5 s), `launchdarkly-eventsource` of npm (5 s), `OkHttp` (10 s). Or set
//!   [`heartbeat`](Builder::heartbeat) for all.
//! - Clients that note only the ids of events, and must not miss what happens before their first
//!   event, ask for `?stream-open=1`: among others `eventsource` 3 to 5, `undici`,
//!   `event-source-polyfill`, `requests-sse`, `reqwest-eventsource`, and those of Go and Symfony.
//! - Clients that call themselves Mozilla and are no browsers (`AnyEvent::HTTP`, Tcl's `http`) ask
//!   for `?stream-open=0`, or ignore the type `stream-open`.
//! - HTTP libraries that only read a body (`fetch`, `axios`, `requests`, `HttpClient`) report an
//!   error when a stream is cut, and it is for you to ask again with the last id. Those that ask
//!   for `Connection: close` (PHP's `fopen`, Python's `urllib`, `LWP`, `superagent`) cannot tell a
//!   cut from an end: take each end for a cut.
//! - `aiohttp` ends every response after 300 s, heartbeats or not, unless the program sets
//!   `ClientTimeout(total=None)`. `aiohttp-sse-client` comes back after the end of a body, but ends
//!   with an error after a cut of chunks: ask for `Connection: close`.
//! - `wget` asks again with `Range` after a cut, and leaves out as many bytes of the answer as it
//!   has had before, so that it loses events: `--tries=1`, or use `curl -N`. Without `-N` curl
//!   holds 4096 bytes back when it writes into a pipe, and `LuaSocket` always holds back 2048.
//!
//! # What is guaranteed
//!
//! - Every event that [`publish`](Server::publish) accepted reaches every client whose response
//!   head had arrived before the call, once and in order, or that client is disconnected. There is
//!   never a silent gap.
//! - A client that does not read, or reads slowly, delays no other client. A client that is more
//!   than [1 MiB](Builder::mailbox_bytes) behind is disconnected once it has taken nothing for 3 s,
//!   or at once if [memory](Builder::mailboxes_bytes) is short. A client that takes nothing for
//!   [10 s](Builder::stall_timeout) is disconnected in any case. Its browser reconnects by itself.
//!   If most of the clients are far behind and go on reading, the publisher is too fast: `publish`
//!   blocks until they have caught up ([`try_publish`](Server::try_publish) returns an error
//!   instead).
//! - A client that reconnects with its last event's id gets exactly what it missed, or a
//!   `stream-gap` event that reports the gap.
//! - A client that disconnects, or closes only its sending side, is gone from the
//!   [stats](Server::stats) within two seconds.
//! - Nothing that is published can add a line to the stream that was not meant as data: line
//!   endings in the data become lines of data, and are forbidden elsewhere.
//! - What a client can make the server do is bounded in bytes and in time; [`Builder`] and
//!   [`http::Limits`] have the numbers.
//! - [`shutdown`](Server::shutdown) delivers what was accepted, ends every stream and joins every
//!   thread within its deadline.
//!
//! # Resuming
//!
//! Every event has an id, its publisher's own or one of the server's, and the last events of each
//! type are [kept](Builder::history_events). A browser that reconnects sends the id of its last
//! event (`Last-Event-ID`). It gets exactly what it missed, in order, before new events. If that is
//! not possible, because too much has happened or the server was restarted, the first event is a
//! `stream-gap`. Its data is JSON: the id `requested`, and the `oldest` id that is kept. All events
//! that are left follow.
//!
//! Every stream begins with the client's position, so that a client that is cut off before its
//! first event misses nothing either. A browser, recognised by its `User-Agent`, gets an event
//! `stream-open` with `{}` as data, since Firefox and `WebKit` note no other id. A page listens
//! for it only to keep the id itself, as [above](#browsers). Any other client gets a line `id:` in
//! front of its first event, since some hand out an empty event for a block of its own. Of those,
//! clients that note an id only with an event come back as if for the first time; `?stream-open=1`
//! asks for the event.
//!
//! A stream comes in chunks and never ends of itself, so it is always cut without the last chunk:
//! clients that come back only after an error do so after a shutdown and a refusal too.
//!
//! What to do on a `stream-gap` depends on what the events mean. If each event is complete in
//! itself (a reading, a price), do nothing: the next one brings the page up to date. If a page adds
//! events up (a list, a counter), it must load its state again, as when it opened. Some of the
//! events that follow are then in that state already.
//!
//! ```js
//! const events = new EventSource('/event?event=cart')
//! events.addEventListener('stream-gap', () => location.reload())
//! ```
//!
//! The history is in memory: after a restart of your program every client that reconnects gets a
//! `stream-gap`. Nobody does if your program keeps its events anyway, in a database for example:
//! give them [ids of their own](Message::id), and publish the last ones again with the same ids
//! before you listen. A client that has one of them goes on behind it.
//!
//! ```
//! use websse::{EventId, Message, Server, http::HttpServer};
//!
//! # struct Order { number: u64, text: &'static str }
//! # let last_orders = [Order { number: 16, text: "tea" }, Order { number: 17, text: "bread" }];
//! let server = Server::new();
//! server.register_event("order")?;
//! server.run()?;
//! for Order { number, text } in last_orders {
//!     let id = EventId::new(format!("order-{number}"))?;
//!     server.publish(Message::new(text).event("order").id(id))?;
//! }
//! let http = HttpServer::new().get("/event", server.event_stream_handler()).bind("127.0.0.1:0")?;
//! # drop(http);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Threads
//!
//! - One broadcaster thread for each [`Server`], from [`run`](Server::run) to its shutdown. It owns
//!   all the streams and writes all of them, and never blocks on one. No code of yours runs there.
//! - [Connection threads](http#threads) for each listener of an [`http::HttpServer`], only while a
//!   request is being read or answered. Your handlers and `authorize` run there. An idle stream
//!   costs a socket and less than 1 KiB, but no thread. At most 1024
//!   [connections](http::Limits::connections) hold a thread.
//! - A thread for hooks, only if you set one.
//! - None for a [`Subscription`]: the thread that reads it is yours.
//!
//! [`publish`](Server::publish) may be called from any thread, also from handlers and hooks, and
//! may block while the queue is full. No lock is held while your code runs.
//!
//! # Stats and metrics
//!
//! [`stats`](Server::stats) and [`subscribers_by_type`](Server::subscribers_by_type) return the
//! current numbers, [`is_healthy`](Server::is_healthy) whether the broadcaster works and can be
//! given more, and [`is_alive`](Server::is_alive), for a watchdog, whether it works at all.
//! [`metrics_handler`](Server::metrics_handler), [`stats_handler`](Server::stats_handler) and
//! [`health_handler`](Server::health_handler) answer the same over HTTP.
//!
//! # HTTPS
//!
//! With the feature `tls` no proxy is needed: `HttpServer::bind_tls` speaks TLS 1.3 and 1.2. A page
//! that was served over `https://` may only open streams over it, too; browsers make an exception
//! for `http://localhost` and `http://127.0.0.1`.
//!
//! ```no_run
//! # #[cfg(feature = "tls")] {
//! use websse::http::{HttpServer, TlsConfig};
//!
//! let tls = TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?;
//! let http = HttpServer::new().bind_tls("0.0.0.0:443", tls)?;
//! # drop(http);
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Certificates that browsers know come from an authority such as Let's Encrypt, by a program that
//! renews them. `certbot certonly --standalone --deploy-hook 'systemctl reload websse'` needs port
//! 80 while it asks; `lego --email … --domains hub.example --dns … run` needs no port. Both leave
//! the files `fullchain.pem` and `privkey.pem`, or `.crt` and `.key`, which only root can read:
//! let systemd hand them over (`LoadCredential=`), or copy them in the hook. A new certificate is
//! noticed within a minute, or at once by `TlsConfig::reload`, which
//! the command does by SIGHUP.
//!
//! In a local network a certificate of one's own does, as the README makes one. Browsers warn of
//! it, and an `EventSource` fails without a word until the page's user has accepted it, or its
//! authority was installed (`mkcert`). curl takes it by `--cacert`.
//!
//! A connection that is idle takes about 5 KiB instead of 1. A handshake costs about 0.2 ms of a
//! processor with a key of ECDSA P-256, four times that with RSA 2048. So use ECDSA, and expect a
//! Raspberry Pi to take ten times as long; the processors of some have no AES instructions, and
//! their clients choose `ChaCha20` (RFC 8446, section 9.1), which is quick without.
//!
//! # Small hosts
//!
//! The memory that the server may use is the sum of its limits. By default these are 64 MiB of
//! history, 16 MiB of queue, 64 MiB of request bodies, 256 MiB of mailboxes for clients that are
//! behind, and at most 1 KiB for each idle stream; and the [stacks](http::Limits::stack_bytes) of
//! connection threads. Nothing is allocated before it is needed. [`Builder`] and [`http::Limits`]
//! have all the limits, with their defaults:
//!
//! ```
//! use websse::{Server, http::{HttpServer, Limits}};
//!
//! const KIB: usize = 1024;
//! let server = Server::builder()
//!     .max_streams(100)
//!     .max_frame_bytes(16 * KIB)
//!     .publish_queue(64)
//!     .publish_queue_bytes(128 * KIB)
//!     .mailbox_bytes(16 * KIB)
//!     .mailboxes_bytes(128 * KIB)
//!     .history_bytes(32 * KIB)
//!     .history_all_bytes(128 * KIB)
//!     .build();
//! let limits = Limits::default()
//!     .connections(16)
//!     .stack_bytes(128 * KIB)
//!     .head_bytes(4 * KIB)
//!     .body_bytes(16 * KIB)
//!     .bodies_bytes(64 * KIB);
//! let http = HttpServer::new().limits(limits);
//! # drop((server, http));
//! ```
//!
//! A program with these limits takes 3.1 MB with 100 streams, half of which read nothing while 7 MB
//! are published, and with half a request on 8 other connections. A test runs the command with the
//! same limits, with 4 MiB of addresses more than it has when it is idle, and looks that at most
//! 1 MiB of them is touched. This is where memory goes (resident, a release build; glibc 2.36 and
//! 2.41 linked dynamically, musl 1.2.5 statically and built for size, by
//! `CARGO_PROFILE_RELEASE_OPT_LEVEL=z`):
//!
//! | part | x86-64, glibc | x86-64, musl | 32-bit x86, glibc | 32-bit x86, musl |
//! |---|---|---|---|---|
//! | the idle command `websse` | 3.3 MB | 1.3 MB | 3.5 MB | 1.3 MB |
//! | an idle stream | 0.7 KiB | 0.7 KiB | 0.6 KiB | 0.5 KiB |
//! | a thread with a request | 14 KiB | 10 KiB | 10 KiB | 10 KiB |
//!
//! Of the idle command 0.2 to 0.3 MB are its own; the rest are pages of the program and of
//! libraries. An idle program with the library alone takes 2.3 MB where the command takes 3.3. A
//! stream takes about 5 KiB more in the kernel's sockets. What is kept for replay takes its bytes,
//! up to [`history_all_bytes`](Builder::history_all_bytes).
//!
//! Pages of files count only once for all programs, and the kernel drops them when memory is short.
//! glibc reserves 64 MiB of addresses for each of some threads. That is no memory, but where
//! addresses are limited (`ulimit -v`, a 32-bit host) set `MALLOC_ARENA_MAX=1`, which also saves
//! 0.1 MB.
//!
//! The example `sensors` was seen to take 4 MB with 16 clients. For thousands of streams, on the
//! other hand, raise the limit of open descriptors (`ulimit -n`), and listen with a
//! [larger backlog](http::HttpServer::bind).
//!
//! # Platforms
//!
//! Each change is tested on Linux, 64-bit x86 with glibc. These were seen to pass the tests of the
//! library and those of requests and streams (Rust 1.96, `.ci/hosts` in the repository):
//!
//! | host | how |
//! |---|---|
//! | `armv7-unknown-linux-gnueabihf`, `aarch64-unknown-linux-gnu` | emulated by qemu 10.0 |
//! | `i686-unknown-linux-gnu` | on x86-64 |
//! | `x86_64-unknown-linux-musl`, `i686-unknown-linux-musl` | musl 1.2.5, on x86-64 |
//! | `x86_64-pc-windows-gnu` | wine 10.0; the library alone |
//!
//! It needs no 64-bit atomics: it compiles for 32-bit PowerPC, which has none. On a 32-bit host a
//! process has 2 or 3 GiB of addresses: set [`stack_bytes`](http::Limits::stack_bytes), since 1024
//! stacks of 2 MiB would take them all.
//!
//! For macOS it compiles, and should work; it is not tested there. The command `websse` needs a
//! Unix.
//!
//! It needs Rust 1.89; Debian 13 has a later one in its packages `rustc-web` and `cargo-web`. A
//! later version of the crate may need a later Rust; the changelog says so then.
//!
//! # Cargo features
//!
//! The library needs none of them.
//!
//! - `json` makes messages from anything that serde can serialize (`Message::json`). It lets
//!   `send_message_handler` take a message as `application/json`, and many in one request, one JSON
//!   object on each line (`application/x-ndjson`). Messages are read by serde, and figures
//!   and [`Published`] written.
//! - `log` reports to the facade of the `log` crate, under the target `websse`. At level `debug`:
//!   the start and the end of the broadcaster, and clients that come and go. At `info`: clients
//!   disconnected because they are behind, stalled or broken; and requests refused with a status
//!   below 500, with 505 or, on the stream endpoint, for now. At `warn`: other statuses above 500,
//!   connections that cannot be accepted, and answers that break off by an error of your program;
//!   at `debug` those whose client left. At `error`: hooks that panic, closures that panic while
//!   they write an answer, and status 500, which is the answer if a handler panics. A request is
//!   reported by method and path, without its query, which may contain a token. Your logger runs on
//!   the caller's thread, on a connection's thread, or on the hooks' thread, which exists if the
//!   level is at least `info` when the server is run. If the logger blocks, it never blocks the
//!   broadcaster.
//! - `socket2` notices within 50 s that a client's machine or network is gone without a word: 30 s
//!   after the next event or [heartbeat](Builder::heartbeat), which comes after 15 s of silence.
//!   Every TCP connection of [`http`] is asked for a sign of life after 15 s of silence
//!   (`SO_KEEPALIVE`), and on Linux what is sent must be acknowledged within 30 s
//!   (`TCP_USER_TIMEOUT`, RFC 5482). This also ends a client that reads so little that its receive
//!   buffer stays full for that long; the client reconnects and resumes. Without the feature the
//!   kernel decides. Heartbeats make sure that something is unacknowledged. Linux gives up after
//!   about 15 minutes (`net.ipv4.tcp_retries2`); until then the stream counts. A busy stream ends
//!   earlier, when its buffers are full for the [stall time-out](Builder::stall_timeout).
//! - `redis` makes several servers one over a stream of Redis or Valkey (`websse::redis`), and
//!   `redis-tls` adds TLS to their connections. They need crates of their own, but no async
//!   runtime.
//! - `tls` speaks HTTPS ([above](crate#https)), by `rustls` and `ring`; about 20 crates more. At
//!   level `debug` the log has the handshakes that failed.
//! - `durable` keeps the history on disk (`websse::durable`), so that a restart is no gap. It needs
//!   one crate more.
//! - `cli` is for the `websse` command. It includes `json`, `log` and `socket2`; together with
//!   `redis` the command has `--redis`, with `durable` `--history-dir`, with `tls`
//!   `--tls-cert`, and with `jwt`
//!   `--token-key`: JSON Web Tokens that tell the channels which their holders may use.

// Where the documentation is published, each item shows which features it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

// In the order of the layers: each module imports only from those above it.
mod decimal;
mod error;
mod logs;
mod panics;
mod quoted;
mod socket;
mod tls;

mod message;

pub mod http;

mod broadcast;

mod server;

#[cfg(feature = "durable")]
pub mod durable;
mod handlers;
#[cfg(feature = "redis")]
pub mod redis;

mod any_error;

#[cfg(feature = "json")]
pub use message::json::JsonError;
pub use {
    any_error::Error,
    broadcast::{
        broadcaster::ShutdownReport,
        client::{Client, ClientId, SendToError, UnknownClient},
        stats::{Disconnect, Disconnected, RedisStats, Stats},
    },
    error::{
        PublishAllError, PublishError, RunError, StreamError, SubscribeError, TryPublishError,
    },
    handlers::{
        Action, Denied, EventStreamHandler, HealthHandler, MetricsHandler, SendMessageHandler,
    },
    message::{
        Message, MessageError, channels::Channels, event_type, event_types::RegisterError,
        frame::Frame, id::EventId, published::Published,
    },
    server::{
        Builder, Publisher, RecvTimeoutError, Server, Subscription, SubscriptionBuilder,
        SubscriptionReader,
    },
};

/// Stands for a time that is too long for the clock, or for a time-out.
const YEAR: std::time::Duration = std::time::Duration::from_secs(31_536_000);

/// Compiles the README's program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
