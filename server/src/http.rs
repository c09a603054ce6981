//! A small part of HTTP/1.1, enough for a scraper and for a browser that looks at a page: one request for each
//! connection, no bodies, and limits that a hostile client cannot exceed.

use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::io;

/// The most bytes of a request.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// A request for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The path, without a query.
    pub(crate) path: String,
    /// Only the headers of the response are wanted.
    pub(crate) is_head: bool,
}

/// The reason why a request is refused: the status of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed,
    Method,
    TooLong,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The code and its meaning.
    pub(crate) status: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Response {
    /// Returns a response with content.
    pub(crate) fn ok(content_type: &'static str, body: impl Into<String>) -> Response {
        Response { status: "200 OK", content_type, body: body.into() }
    }

    /// Returns a response with a line of text.
    pub(crate) fn line(status: &'static str, line: &str) -> Response {
        Response { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }

    /// Returns the bytes to send.
    fn encode(&self, is_head: bool) -> Vec<u8> {
        let Response { status, content_type, body } = self;
        // Pages take nothing from elsewhere, and no other page may frame them.
        let mut encoded = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\r\n",
            body.len()
        );
        if !is_head {
            encoded.push_str(body);
        }
        encoded.into_bytes()
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Response {
        match refusal {
            Refusal::Malformed => Response::line("400 Bad Request", "this is no request of HTTP/1.0 or HTTP/1.1"),
            Refusal::Method => Response::line("405 Method Not Allowed", "use GET or HEAD"),
            Refusal::TooLong => {
                Response::line("431 Request Header Fields Too Large", "a request may have 64 headers and 8 KiB")
            }
        }
    }
}

/// Parses a request, or returns `None` if it is not complete yet.
fn parse(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_REQUEST_BYTES => return Err(Refusal::TooLong),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
        Err(_) => return Err(Refusal::Malformed),
    }
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refusal::Method),
    };
    let path = request.path.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    Ok(Some(Request { path, is_head }))
}

/// Reads a request.
///
/// # Errors
/// The connection failed, or was closed before a request was complete.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<Request, Refusal>> {
    let mut received = vec![0; MAX_REQUEST_BYTES];
    let mut length = 0;
    loop {
        match stream.read(&mut received[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
        match parse(&received[..length]) {
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Ok(request)),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
}

/// Sends a response and ends the connection.
///
/// # Errors
/// The connection failed.
pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    response: &Response,
    is_head: bool,
) -> io::Result<()> {
    stream.write_all(&response.encode(is_head)).await?;
    stream.close().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use quickcheck::{TestResult, quickcheck};

    fn get(path: &str) -> Request {
        Request { path: path.to_owned(), is_head: false }
    }

    #[test]
    fn a_request_is_read_from_pieces_and_its_query_is_dropped() {
        let bytes = b"GET /metrics?a=b HTTP/1.1\r\nHost: node:9100\r\nAccept: */*\r\n\r\n";
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{length} bytes");
        }
        assert_eq!(parse(bytes), Ok(Some(get("/metrics"))));
        assert_eq!(parse(b"HEAD / HTTP/1.0\r\n\r\n"), Ok(Some(Request { is_head: true, ..get("/") })));
        let read = block_on(read(&mut &bytes[..])).expect("it is complete");
        assert_eq!(read, Ok(get("/metrics")));
        assert!(block_on(super::read(&mut &bytes[..20])).is_err(), "the client has left");
    }

    #[test]
    fn what_is_no_request_for_a_resource_is_refused() {
        for (bytes, refusal) in [
            ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", Refusal::Method),
            ("PING\r\n", Refusal::Malformed),
            ("*1\r\n$4\r\nPING\r\n", Refusal::Malformed),
            ("GET / HTTP/2.0\r\n\r\n", Refusal::Malformed),
            (&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)), Refusal::TooLong),
            (&format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_REQUEST_BYTES)), Refusal::TooLong),
        ] {
            let read = block_on(read(&mut bytes.as_bytes())).expect("the connection is open");
            assert_eq!(read, Err(refusal), "{bytes}");
            assert!(Response::from(refusal).status.starts_with('4'));
        }
    }

    #[test]
    fn a_response_has_its_length_and_no_body_for_head() {
        let response = Response::ok("text/plain", "hällo");
        let (whole, head) = (response.encode(false), response.encode(true));
        let text = String::from_utf8(whole.clone()).expect("text");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nhällo"));
        assert_eq!(head, whole[..whole.len() - 6]);
    }

    quickcheck! {
        /// Any bytes end within the limit: in a request, in a refusal, or with the connection.
        fn any_bytes_are_judged_within_the_limit(bytes: Vec<u8>, repeats: u8) -> TestResult {
            let bytes = bytes.repeat(usize::from(repeats));
            let mut rest = &bytes[..];
            let outcome = block_on(read(&mut rest));
            let taken = bytes.len() - rest.len();
            TestResult::from_bool(taken <= MAX_REQUEST_BYTES && (outcome.is_ok() || rest.is_empty()))
        }
    }
}
