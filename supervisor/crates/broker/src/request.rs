//! What a client asks of an HTTP proxy: a tunnel (`CONNECT`), or one plain request to be passed on.
//!
//! The head is bounded, read whole, and written anew for the server: with the host that was judged in
//! its `Host` header, without what was meant for the proxy, and for one exchange only, so that no
//! second request for another host can follow on the same connection.

use httparse::{EMPTY_HEADER, Status};
use thiserror::Error;

use crate::host::Host;

/// The most that a head may take.
pub const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 100;

/// A whole head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub asked: Asked,
    /// The client's credentials for the proxy (`Proxy-Authorization`), as sent.
    pub credentials: Option<String>,
    /// How many bytes the head took; what follows is the body, or belongs into the tunnel.
    pub length: usize,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Bytes both ways.
    Tunnel(Host, u16),
    /// One request over plain HTTP.
    Plain {
        /// The server.
        host: Host,
        /// Its port.
        port: u16,
        /// The head for the server.
        head: Vec<u8>,
    },
}

/// Why a head is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not HTTP, or longer than a head may be.
    #[error("this is a proxy for HTTP, CONNECT and SOCKS5")]
    Malformed,
    /// The target names no host that could be judged.
    #[error("the target is not an http:// address or a HOST:PORT")]
    Target,
    /// Its length is said twice: one of the two readers would be wrong.
    #[error("the length of the body is ambiguous")]
    Ambiguous,
}

/// Reads a head from the first bytes of a connection. `None` while it is not whole.
///
/// # Errors
/// [`RequestError`] for what is not served.
pub fn read(bytes: &[u8]) -> Result<Option<Request>, RequestError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let within = bytes.get(..MAX_HEAD).unwrap_or(bytes);
    let length = match head.parse(within) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(Status::Partial) | Err(_) => return Err(RequestError::Malformed),
    };
    let (Some(method), Some(target)) = (head.method, head.path) else {
        return Err(RequestError::Malformed);
    };
    let credentials = field(head.headers, "proxy-authorization");
    let credentials = credentials.map(|value| String::from_utf8_lossy(value).into_owned());
    let asked = if method == "CONNECT" {
        let (host, port) = Host::with_port(target).ok_or(RequestError::Target)?;
        Asked::Tunnel(host, port)
    } else {
        plain(method, target, head.headers)?
    };
    Ok(Some(Request { asked, credentials, length }))
}

fn field<'h>(headers: &[httparse::Header<'h>], name: &str) -> Option<&'h [u8]> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.map(|header| header.value)
}

fn plain(
    method: &str,
    target: &str,
    headers: &[httparse::Header<'_>],
) -> Result<Asked, RequestError> {
    let counted =
        |name: &str| headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
    if counted("content-length") + counted("transfer-encoding") > 1 {
        return Err(RequestError::Ambiguous);
    }
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let rest = scheme.and_then(|_| target.get(7..)).ok_or(RequestError::Target)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = match Host::with_port(authority) {
        Some(both) => both,
        None => (Host::parse(authority).map_err(|_odd| RequestError::Target)?, 80),
    };
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let shown = if port == 80 { host.to_string() } else { format!("{host}:{port}") };
    let mut head = format!("{method} {slash}{path} HTTP/1.1\r\nHost: {shown}\r\n").into_bytes();
    let named = connection_names(headers);
    for header in headers.iter().filter(|header| passes(header.name, &named)) {
        head.extend_from_slice(header.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok(Asked::Plain { host, port, head })
}

/// The headers that the client wants to be dropped on the way, by its own word. What tells the body's
/// length is not among them, whatever it says.
fn connection_names(headers: &[httparse::Header<'_>]) -> Vec<String> {
    let values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
    let text: Vec<_> = values.map(|header| String::from_utf8_lossy(header.value)).collect();
    let names = text.iter().flat_map(|text| text.split(','));
    let names = names.map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| name != "content-length" && name != "transfer-encoding").collect()
}

/// Whether a header is for the server rather than for the next hop.
fn passes(name: &str, named: &[String]) -> bool {
    const HOP: [&str; 6] =
        ["connection", "host", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade"];
    let name = name.to_ascii_lowercase();
    !HOP.contains(&name.as_str()) && !named.contains(&name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tunnel(text: &str) -> Result<Option<Request>, RequestError> {
        read(text.as_bytes())
    }

    fn asked(text: &str) -> Result<Asked, RequestError> {
        tunnel(text).map(|request| request.unwrap().asked)
    }

    #[test]
    fn a_tunnel_is_read_with_its_credentials() {
        let text = "CONNECT Files.example.org:443 HTTP/1.1\r\nHost: x\r\n\
            Proxy-Authorization: Basic cDp0\r\n\r\nbeyond";
        let request = tunnel(text).unwrap().unwrap();
        assert_eq!(request.asked, Asked::Tunnel(Host::Name("files.example.org".to_owned()), 443));
        assert_eq!(request.credentials.as_deref(), Some("Basic cDp0"));
        assert_eq!(&text[request.length..], "beyond");
    }

    #[test]
    fn a_plain_request_is_written_anew_for_the_host_that_was_judged() {
        let text = "GET http://a.example:8080/x?y=1#z HTTP/1.1\r\nHost: other.example\r\n\
            Accept: */*\r\nX-Drop: 1\r\nConnection: keep-alive, X-Drop\r\nProxy-Connection: x\r\n\r\n";
        let Ok(Asked::Plain { host, port, head }) = asked(text) else { panic!() };
        assert_eq!((host.to_string().as_str(), port), ("a.example", 8080));
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "GET /x?y=1 HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        let Ok(Asked::Plain { head, .. }) = asked("GET http://a.example?q HTTP/1.0\r\n\r\n") else {
            panic!()
        };
        assert!(head.starts_with(b"GET /?q HTTP/1.1\r\nHost: a.example\r\n"));
    }

    #[test]
    fn a_target_without_a_host_to_judge_is_refused() {
        for target in
            ["/", "*", "https://a.example/", "http://u@a.example/", "http:///", "http://127.1/"]
        {
            let text = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            assert_eq!(asked(&text), Err(RequestError::Target), "{target}");
        }
        for target in ["a.example", "0x7f000001:443", "a.example:0", "a:443:443"] {
            let text = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
            assert_eq!(asked(&text), Err(RequestError::Target), "{target}");
        }
    }

    #[test]
    fn a_body_with_two_lengths_is_refused() {
        let text = "POST http://a.example/ HTTP/1.1\r\nContent-Length: 5\r\n\
            Transfer-Encoding: chunked\r\nConnection: content-length\r\n\r\n";
        assert_eq!(asked(text), Err(RequestError::Ambiguous));
    }

    #[test]
    fn an_endless_head_ends() {
        let text = format!("GET http://a.example/ HTTP/1.1\r\nA: {}", "a".repeat(MAX_HEAD));
        assert_eq!(tunnel(&text), Err(RequestError::Malformed));
        assert_eq!(tunnel(&text[..100]), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300), http: bool) {
            let text = [&b"GET http://a"[..], &bytes].concat();
            let _judged = read(if http { &text } else { &bytes });
        }

        #[test]
        fn what_is_passed_on_is_one_head_for_one_host(
            target in "[ -~]{0,40}", name in "[A-Za-z-]{1,10}", value in "[ -~]{0,20}",
        ) {
            let text = format!("GET http://{target} HTTP/1.1\r\n{name}: {value}\r\n\r\n");
            if let Ok(Some(Request { asked: Asked::Plain { head, .. }, .. })) = read(text.as_bytes()) {
                let head = String::from_utf8(head).unwrap();
                prop_assert!(head.find("\r\n\r\n") == Some(head.len() - 4));
                let hosts = head.to_ascii_lowercase().matches("\r\nhost:").count();
                prop_assert_eq!(hosts, 1);
            }
        }
    }
}
