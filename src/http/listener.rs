//! The public listener: a socket and a single-threaded runtime for each thread, so that a request never changes
//! cores (7.2 against 9.8 µs of CPU a request on the multi-threaded runtime). The kernel spreads connections over
//! the sockets, which share one port through `SO_REUSEPORT`.
//!
//! At the cap of connections nothing more is accepted until one closes; the others wait in the kernel's queue.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::connection;
use super::routes::{Apis, PublicPaths, Routes};
use crate::metrics::figures;

/// Connections that the kernel keeps for each socket until we accept them; it may lower this.
const BACKLOG: i32 = 1024;

/// The pauses after a failure to accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What a listener allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where it answers what.
    pub paths: PublicPaths,
    /// Threads, each with a socket of its own; at least 1.
    pub threads: usize,
    /// Connections open at once over all threads. Each takes a file descriptor.
    pub max_connections: usize,
    /// Time for a request's head: from the opening of the connection for the first one, from its first byte for
    /// those that follow. After it, 408.
    pub header_timeout: Duration,
    /// Time for a request's body, from its head to its last byte. After it, 408.
    pub body_timeout: Duration,
    /// Time that a connection may rest between two requests, and that a client may take to read an answer. Longer
    /// than the 60 seconds of common load balancers, which would else meet connections that are just closing.
    pub idle_timeout: Duration,
    /// Time for requests in flight when the listener is shut down.
    pub drain_timeout: Duration,
    /// How long a client that was refused may go on sending, so that it sees the answer. Silence ends it sooner.
    pub linger_timeout: Duration,
    /// How many bytes of it are thrown away at most.
    pub linger_bytes: usize,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            paths: PublicPaths::default(),
            threads: thread::available_parallelism().map_or(1, NonZero::get),
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(10),
            linger_bytes: 64 * 1024 * 1024,
        }
    }
}

/// A bound address that does not accept yet.
pub struct Listener {
    sockets: Vec<std::net::TcpListener>,
    address: SocketAddr,
    settings: ListenerSettings,
}

impl Listener {
    /// Binds one socket per thread.
    ///
    /// # Errors
    /// When the address is taken, also by another collector, or cannot be bound.
    pub fn bind(settings: ListenerSettings) -> io::Result<Self> {
        // Sharing a port is between our own threads: a second collector started by mistake must be told that the
        // port is taken, not be given half of the connections. Only a socket that does not share can find out.
        drop(socket(settings.address, false)?);
        let first = listening(settings.address)?;
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..settings.threads {
            sockets.push(listening(address)?);
        }
        Ok(Self { sockets, address, settings })
    }

    /// The address with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves `apis` and returns when `shutdown` has turned true (or its sender is gone) and the requests in
    /// flight are answered, or cut off after the drain timeout. Blocks its thread.
    ///
    /// # Errors
    /// When a runtime or a thread cannot be started, or one of them has failed.
    pub fn run<A: Apis>(self, apis: A, shutdown: &watch::Receiver<bool>) -> io::Result<()> {
        let routes = Arc::new(Routes::new(apis, &self.settings.paths));
        let settings = Arc::new(self.settings);
        let seats = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let mut workers = Vec::new();
        for socket in self.sockets {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let routes = Arc::clone(&routes);
            workers.push((
                runtime,
                Worker { socket, routes, settings: Arc::clone(&settings), seats: Arc::clone(&seats) },
            ));
        }
        let start = |(index, (runtime, worker)): (usize, (Runtime, Worker<A>))| {
            let shutdown = shutdown.clone();
            thread::Builder::new()
                .name(format!("http-{index}"))
                .spawn(move || runtime.block_on(worker.run(shutdown)))
        };
        let threads: Vec<_> = workers.into_iter().enumerate().map(start).collect::<io::Result<_>>()?;
        let ended = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_panic| Err(io::Error::other("a thread of the listener panicked")))
        });
        // Every thread is waited for, even if one has failed.
        ended.fold(Ok(()), io::Result::and)
    }
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that linger in the kernel must not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address, true)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One thread's share of the listener.
struct Worker<A> {
    socket: std::net::TcpListener,
    routes: Arc<Routes<A>>,
    settings: Arc<ListenerSettings>,
    seats: Arc<Semaphore>,
}

impl<A: Apis> Worker<A> {
    async fn run(self, mut shutdown: watch::Receiver<bool>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.socket.try_clone()?)?;
        // A channel of its own for each thread: connections look at it whenever they wake, and one for all would
        // send its cache line from core to core.
        let (stop, stopped) = watch::channel(false);
        tokio::select! {
            () = self.accept(&listener, &stopped) => {}
            () = raised(&mut shutdown) => {}
        }
        drop((listener, self.socket, stopped));
        stop.send_replace(true);
        // Each connection holds two receivers.
        if timeout(self.settings.drain_timeout, stop.closed()).await.is_err() {
            let open = stop.receiver_count() / 2;
            tracing::warn!(open, "connections were cut off: their requests outlasted the drain timeout");
        }
        Ok(())
    }

    /// Accepts for ever.
    async fn accept(&self, listener: &TcpListener, stopped: &watch::Receiver<bool>) {
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE.0;
                    self.seat(stream, peer, stopped).await;
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    // Once for each series of failures, which may last.
                    if pause == ACCEPT_PAUSE.0 {
                        tracing::error!(%error, "cannot accept connections, trying again");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
    }

    /// Waits for a free place if there is none: meanwhile this thread accepts nobody else.
    async fn seat(&self, stream: TcpStream, peer: SocketAddr, stopped: &watch::Receiver<bool>) {
        if self.seats.available_permits() == 0 {
            figures().connections_refused.increment(1);
        }
        let Ok(permit) = Arc::clone(&self.seats).acquire_owned().await else { return };
        let seat = Seat::new(permit);
        // An answer is one write, there is nothing to gather; a client that has gone already shows when it is read.
        let _ = stream.set_nodelay(true);
        let (routes, settings) = (Arc::clone(&self.routes), Arc::clone(&self.settings));
        let stopped = stopped.clone();
        tokio::spawn(async move {
            connection::serve(stream, peer, routes, settings, stopped).await;
            drop(seat);
        });
    }
}

/// Waits for a flag to turn true, or for nobody to be left who could turn it.
pub(super) async fn raised(flag: &mut watch::Receiver<bool>) {
    drop(flag.wait_for(|raised| *raised).await);
}

/// Whether a failure to accept says something about that client only.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// An open connection's place under the cap.
struct Seat {
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        figures().connections_open.increment(1);
        Self { _permit: permit }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        figures().connections_open.decrement(1);
    }
}
