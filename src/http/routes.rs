//! Path and method → API. What is not in the table is 404, or 405 with the methods that are.

use std::net::SocketAddr;

use http::{Method, Request};

use super::answer::Answer;
use super::body::RequestBody;
use super::rejection::Rejection;

/// One line of a table: a path, compared byte for byte; a method; what answers it.
pub(super) type Route<E> = (&'static str, Method, E);

#[derive(Clone, Copy)]
enum Endpoint {
    Events,
}

static PUBLIC: [Route<Endpoint>; 1] = [("/api/events", Method::POST, Endpoint::Events)];

/// The APIs behind the public listener, one function each.
///
/// A handler is dropped at its next `await` when its client goes away, and a panic in it is answered 500. One that
/// refuses before it has read the body just returns: the connection sees to it that the client gets the answer.
pub trait Apis: Send + Sync + 'static {
    /// `POST /api/events` from `peer`, the other end of the connection (which may be a proxy).
    fn events(&self, request: Request<RequestBody>, peer: SocketAddr) -> impl Future<Output = Answer> + Send;
}

/// Answers a request of the public listener.
pub(super) async fn answer<A: Apis>(apis: &A, request: Request<RequestBody>, peer: SocketAddr) -> Answer {
    match find(&PUBLIC, request.method(), request.uri().path()) {
        Ok(Endpoint::Events) => apis.events(request, peer).await,
        Err(refusal) => refusal.into(),
    }
}

/// Looks up a table; a query string is no part of `path`, a trailing slash is.
pub(super) fn find<E: Copy>(table: &[Route<E>], method: &Method, path: &str) -> Result<E, Rejection> {
    let here = || table.iter().filter(|(known, ..)| *known == path);
    if let Some((.., endpoint)) = here().find(|(_, known, _)| known == method) {
        return Ok(*endpoint);
    }
    let methods: Vec<&str> = here().map(|(_, known, _)| known.as_str()).collect();
    if methods.is_empty() {
        let known: Vec<String> = table.iter().map(|(path, method, _)| format!("{method} {path}")).collect();
        return Err(Rejection::not_found(&known.join(", ")));
    }
    Err(Rejection::method_not_allowed(methods.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_exactly_and_a_method_by_its_line() {
        let table = [("/a", Method::GET, 1), ("/a", Method::POST, 2), ("/b", Method::GET, 3)];
        let found = |method, path| find(&table, &method, path).map_err(|refusal| refusal.status.as_u16());
        assert_eq!(found(Method::GET, "/a"), Ok(1));
        assert_eq!(found(Method::POST, "/a"), Ok(2));
        assert_eq!(found(Method::HEAD, "/a"), Err(405));
        assert_eq!(found(Method::POST, "/b"), Err(405));
        for path in ["/a/", "/A", "", "/", "/ab", "//a"] {
            assert_eq!(found(Method::GET, path), Err(404), "{path}");
        }
    }
}
