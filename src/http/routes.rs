//! Path and method → API. What is not in the table is 404, or 405 with the methods that are.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;

use super::answer::{Answer, Taken};
use super::body::RequestBody;
use super::cors;
use super::rejection::{Form, Rejection};
use super::script::{self, Lifetime};
use crate::snippet::script;

/// Where backends post events to.
pub const BACKEND_EVENTS: &str = "/api/v1/events";

/// Where backends post conversions to.
pub const CONVERSIONS: &str = "/tracking/ingest";

/// A request without its body. Boxed, since a future that is given one has room for its 224 bytes twice.
pub type Head = Box<http::request::Parts>;

/// One line of a table: a path, compared byte for byte; a method; what answers it.
pub(super) type Route<E, P = &'static str> = (P, Method, E);

#[derive(Clone, Copy)]
enum Endpoint {
    Events,
    BackendEvents,
    Conversions,
    Script(Lifetime),
}

/// Paths that are settings, since blockers list common ones. Each begins with a slash, and no two are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPaths {
    /// Where pages get the script; its pinned path is derived from it.
    pub script: String,
    /// Where events are posted to.
    pub events: String,
}

impl Default for PublicPaths {
    fn default() -> Self {
        Self { script: "/weir.js".to_owned(), events: "/api/events".to_owned() }
    }
}

/// The APIs behind the public listener, one function each.
///
/// A handler is dropped at its next `await` when its client goes away, and a panic in it is answered 500. One that
/// refuses before it has read the body just returns: the connection sees to it that the client gets the answer. Pages'
/// events, which are most of what comes, may leave the wait for the disk to the connection.
pub trait Apis: Send + Sync + 'static {
    /// `POST /api/events`, or what stands for its path, from `peer`, the other end of the connection (which may be a
    /// proxy).
    fn events(&self, head: Head, body: RequestBody, peer: SocketAddr) -> impl Future<Output = Taken> + Send;

    /// `POST /api/v1/events`.
    fn backend_events(&self, head: Head, body: RequestBody) -> impl Future<Output = Answer> + Send;

    /// `POST /tracking/ingest`.
    fn conversions(&self, head: Head, body: RequestBody) -> impl Future<Output = Answer> + Send;
}

/// The public listener's table, and what stands behind it.
pub(super) struct Routes<A> {
    apis: A,
    table: Vec<Route<Endpoint, String>>,
}

impl<A: Apis> Routes<A> {
    pub(super) fn new(apis: A, paths: &PublicPaths) -> Self {
        let mut table = vec![
            (paths.events.clone(), Method::POST, Endpoint::Events),
            (BACKEND_EVENTS.to_owned(), Method::POST, Endpoint::BackendEvents),
            (CONVERSIONS.to_owned(), Method::POST, Endpoint::Conversions),
        ];
        let pinned = script().pinned_path(&paths.script);
        for (path, lifetime) in [(&paths.script, Lifetime::Hour), (&pinned, Lifetime::Year)] {
            for method in [Method::GET, Method::HEAD] {
                table.push((path.clone(), method, Endpoint::Script(lifetime)));
            }
        }
        Self { apis, table }
    }

    /// Takes a request.
    pub(super) async fn take(self: Arc<Self>, head: Head, body: RequestBody, peer: SocketAddr) -> Taken {
        if head.method == Method::OPTIONS {
            return cors::preflight(&head.headers).into();
        }
        let answer: Answer = match find(&self.table, &head.method, head.uri.path()) {
            Ok(Endpoint::Events) => return self.apis.events(head, body, peer).await,
            Ok(Endpoint::BackendEvents) => Box::pin(self.apis.backend_events(head, body)).await,
            Ok(Endpoint::Conversions) => Box::pin(self.apis.conversions(head, body)).await,
            Ok(Endpoint::Script(lifetime)) => script::answer(&head.headers, lifetime),
            Err(refusal) => refusal.told_to(form(head.uri.path())),
        };
        answer.into()
    }
}

/// In which form refusals on a path are told. Who makes a mistake for it expects the same.
pub(super) fn form(path: &str) -> Form {
    let meant = path.trim_end_matches('/');
    if meant.eq_ignore_ascii_case(BACKEND_EVENTS) {
        Form::Backends
    } else if meant.eq_ignore_ascii_case(CONVERSIONS) {
        Form::Conversions
    } else {
        Form::Public
    }
}

/// Looks up a table; a query string is no part of `path`, a trailing slash is.
pub(super) fn find<E: Copy, P: AsRef<str>>(
    table: &[Route<E, P>],
    method: &Method,
    path: &str,
) -> Result<E, Rejection> {
    let here = || table.iter().filter(|(known, ..)| known.as_ref() == path);
    if let Some((.., endpoint)) = here().find(|(_, known, _)| known == method) {
        return Ok(*endpoint);
    }
    let methods: Vec<&str> = here().map(|(_, known, _)| known.as_str()).collect();
    if methods.is_empty() {
        let known: Vec<String> =
            table.iter().map(|(path, method, _)| format!("{method} {}", path.as_ref())).collect();
        return Err(Rejection::not_found(&known.join(", ")));
    }
    Err(Rejection::method_not_allowed(methods.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_for_the_path_of_backends_is_told_from_other_paths() {
        for path in [BACKEND_EVENTS, "/api/v1/events/", "/api/v1/events//", "/API/v1/Events"] {
            assert_eq!(form(path), Form::Backends, "{path}");
        }
        for path in [CONVERSIONS, "/tracking/ingest/", "/Tracking/Ingest"] {
            assert_eq!(form(path), Form::Conversions, "{path}");
        }
        for path in
            ["/", "", "/api/events/", "/api/v1/event", "/api/v1/events/x", "//api/v1/events", "/tracking"]
        {
            assert_eq!(form(path), Form::Public, "{path}");
        }
    }

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
