//! Routes with a parameter, other methods, and a stream that the program writes.

use super::table::Fate::{Answered, Last};
use super::table::Table;

pub(crate) fn add_to(table: &mut Table) {
    for (line, status) in [
        ("GET /stream HTTP/1.1", 200),
        ("POST /stream HTTP/1.1", 405),
        ("PUT /item/7 HTTP/1.1", 200),
        ("PUT /item/:id HTTP/1.1", 200),
        ("PUT /item/%2e%2e HTTP/1.1", 200),
        ("PUT /item/a%2fb HTTP/1.1", 404),
        ("PUT /item/ HTTP/1.1", 404),
        ("PUT /item//7 HTTP/1.1", 404),
        ("put /item/7 HTTP/1.1", 405),
        ("GET /item/7 HTTP/1.1", 405),
    ] {
        table.add(Answered(status), format!("{line}\r\nHost: a\r\n\r\n"));
    }
    let kept = "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    table.add(Last(200), kept);
    table.add(Last(200), "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
}
