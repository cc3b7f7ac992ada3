//! What a pool is told about its resources.

use std::future::Future;

/// Makes the resources of a [`Pool`](crate::Pool), and says which are still good.
///
/// A resource is closed by dropping it. Its place in the pool is free only when the drop has returned.
///
/// ```
/// use std::io;
/// use tidegate_resilience::Manage;
/// use tokio::net::TcpStream;
///
/// struct Server(&'static str);
///
/// impl Manage for Server {
///     type Resource = TcpStream;
///     type Error = io::Error;
///
///     async fn connect(&self) -> io::Result<TcpStream> {
///         TcpStream::connect(self.0).await
///     }
///
///     fn is_broken(&self, stream: &mut TcpStream) -> bool {
///         // Nothing may have arrived that nobody asked for, the end of the stream included.
///         !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
///     }
/// }
/// ```
pub trait Manage: Send + Sync + 'static {
    /// What is pooled: a connection, a session, a worker.
    type Resource: Send + 'static;

    /// Why a resource could not be made, or is not good any more.
    type Error: Send;

    /// Makes a resource. It may be dropped at any await: when its caller gives up, or after `connect_timeout`.
    fn connect(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Asks the other side whether an idle resource is still good: a ping. The resource is closed where it fails, takes
    /// longer than `connect_timeout` or is dropped halfway. By default it is good.
    ///
    /// It runs in each pass of maintenance, and with `check_on_checkout` before a checkout.
    fn check(&self, resource: &mut Self::Resource) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = resource;
        std::future::ready(Ok(()))
    }

    /// Whether a resource is known to be bad, by what this side can see at once. By default it is not.
    ///
    /// It is asked whenever one comes back, before it is handed out again, and in each pass of maintenance.
    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }
}
