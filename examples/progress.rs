//! A long job that tells how far it is, and a page with a bar. Who comes late is told at once where
//! it stands; when the job is done, the streams are ended and so is the program.
//!
//! `cargo run --example progress`, then open <http://127.0.0.1:8085/> within ten seconds.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{error::Error, thread::sleep, time::Duration};

use websse::{
    Message, Server,
    http::{HttpServer, Request, Response},
};

const PAGE: &str = "<!doctype html><title>progress</title>
<progress max=100></progress> <output>waiting</output><script>
  const [bar, text] = document.querySelectorAll('progress, output')
  function listen(last) {
    const query = 'event=progress&event=done&replay=1&last_event_id=' + encodeURIComponent(last)
    const job = new EventSource('/event?' + query)
    job.addEventListener('stream-open', ({lastEventId}) => last = lastEventId || last)
    job.addEventListener('progress', ({data, lastEventId}) => {
      bar.value = data
      text.value = data + ' %'
      last = lastEventId
    })
    // A stream that ends would be opened again.
    job.addEventListener('done', ({data}) => { bar.value = 100; text.value = data; job.close() })
    // A browser reconnects by itself, unless an answer such as a proxy's 502 closes it for good.
    job.onerror = () => job.readyState === EventSource.CLOSED && setTimeout(listen, 3000, last)
  }
  listen('')
</script>";

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::new();
    server.register_events(["progress", "done"])?;
    server.run()?;
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8085".into());
    let work = Duration::from_millis(arguments.next().map_or(Ok(100), |text| text.parse())?);
    let http = HttpServer::new()
        .get("/", |_: &Request| Response::html(PAGE))
        .get("/event", server.event_stream_handler())
        .bind(address)?;
    println!("open http://{}/", http.local_addr().expect("it listens over TCP"));

    for percent in 0..100 {
        server.publish(Message::new(percent.to_string()).event("progress"))?;
        sleep(work);
    }
    server.publish(Message::new("done").event("done"))?;

    http.shutdown(Duration::from_secs(1));
    let report = server.shutdown(Duration::from_secs(5)); // everybody gets the last event
    println!("done; {} streams had to be cut", report.cut_streams);
    Ok(())
}
