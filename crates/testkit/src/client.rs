//! A client that sends exactly the bytes it is given and reads what comes back, strictly.
//!
//! It never repairs, retries or adds anything. Sending to a peer that has closed is no error here:
//! whether the peer answered first is what the test reads afterwards.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::http1::{BodyReader, Broken, Closed, Head, Response, Source, parse_status_line};
use crate::{PATIENCE, shown};

/// One connection to the gateway, plain or TLS.
#[derive(Debug)]
pub struct RawClient {
    source: Source<Transport>,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl RawClient {
    /// Connects in plain text.
    ///
    /// # Panics
    /// When nobody accepts.
    pub fn connect(address: SocketAddr) -> Self {
        Self { source: Source::new(Transport::Plain(dial(address))) }
    }

    /// Connects with TLS and finishes the handshake.
    ///
    /// # Errors
    /// When the handshake fails.
    ///
    /// # Panics
    /// When nobody accepts, or `name` is no server name.
    pub fn connect_tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let mut socket = dial(address);
        let name = ServerName::try_from(name.to_owned()).expect("a valid server name");
        let mut connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let stream = Box::new(StreamOwned::new(connection, socket));
        Ok(Self { source: Source::new(Transport::Tls(stream)) })
    }

    /// The address of this end.
    ///
    /// # Panics
    /// Never, for a connected socket.
    pub fn local_address(&self) -> SocketAddr {
        self.source.stream_ref().socket().local_addr().expect("a connected socket has an address")
    }

    /// The protocol that ALPN chose, over TLS.
    pub fn negotiated_protocol(&self) -> Option<Vec<u8>> {
        match self.source.stream_ref() {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.conn.alpn_protocol().map(<[u8]>::to_vec),
        }
    }

    /// The certificate that the server showed, over TLS, in DER.
    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        match self.source.stream_ref() {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.conn.peer_certificates()?.first().map(|leaf| leaf.to_vec()),
        }
    }

    /// Sends all of `bytes`; `false` when the peer had closed before it took them.
    ///
    /// # Panics
    /// When the peer neither reads nor closes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = self.source.stream();
        match stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the peer does not read: {} bytes not taken within {PATIENCE:?}", bytes.as_ref().len())
            }
            Err(_) => false,
        }
    }

    /// Sends each piece in a segment of its own; `false` when the peer closed on the way.
    pub fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        pieces.into_iter().all(|piece| self.send(piece))
    }

    /// Sends what the connection takes at once; `false` when it does not take all of it, because the peer
    /// does not read or has closed.
    ///
    /// # Panics
    /// Never, for a connected socket.
    pub fn send_without_waiting(&mut self, bytes: &[u8]) -> bool {
        let stream = self.source.stream();
        stream.socket().set_nonblocking(true).expect("a connected socket");
        let result = stream.write_all(bytes);
        stream.socket().set_nonblocking(false).expect("a connected socket");
        result.is_ok()
    }

    /// Takes in what has arrived by now, without waiting for more, to be read later.
    ///
    /// # Panics
    /// Never, for a connected socket.
    pub fn keep_available(&mut self) {
        self.source.stream_ref().socket().set_nonblocking(true).expect("a connected socket");
        self.source.keep_available();
        self.source.stream_ref().socket().set_nonblocking(false).expect("a connected socket");
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub fn half_close(&mut self) {
        if let Transport::Tls(stream) = self.source.stream() {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.source.stream_ref().socket().shutdown(Shutdown::Write);
    }

    /// Ends the sending side of TCP and says nothing of it in TLS: what an attacker can do.
    pub fn truncate(&mut self) {
        let _ = self.source.stream_ref().socket().shutdown(Shutdown::Write);
    }

    /// Breaks the connection with a RST.
    pub fn reset(self) {
        reset(self.source.stream_ref().socket());
    }

    /// Makes the receive buffer as small as the system allows, so that the peer soon cannot write.
    pub fn shrink_receive_buffer(&self) {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(self.source.stream_ref().socket(), 1);
    }

    /// Reads one head of any status, interim ones included.
    ///
    /// # Errors
    /// When the connection ends first or the bytes are no response head.
    pub fn read_head(&mut self) -> Result<(u16, Head), Broken> {
        let head = self.source.read_head()?;
        let (status, _) = parse_status_line(&head.start).map_err(Broken::Malformed)?;
        Ok((status, head))
    }

    /// Reads the final response to a request of `method`, whole or up to its cut.
    ///
    /// # Errors
    /// When the connection ends before the head is complete, or the head is not valid.
    pub fn read_response(&mut self, method: &str) -> Result<Response, Broken> {
        self.source.read_response(method)
    }

    /// Reads the head of the final response only; its body can be read with [`Self::read_some`].
    ///
    /// # Errors
    /// As [`Self::read_response`].
    pub fn begin_response(&mut self, method: &str) -> Result<Response, Broken> {
        self.source.begin_response(method)
    }

    /// The next piece of a body that `reader` stands in, as soon as it arrives.
    ///
    /// # Errors
    /// As [`BodyReader::next`].
    pub fn read_some(&mut self, reader: &mut BodyReader) -> Result<Option<Vec<u8>>, Broken> {
        reader.next(&mut self.source)
    }

    /// Takes exactly `count` bytes, of a tunnel for example.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        self.source.take(count)
    }

    /// Reads everything up to the end of the connection.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Closed) {
        self.source.read_to_end()
    }

    /// Sends a request and reads its response.
    ///
    /// # Panics
    /// When there is no valid response head.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let method = request.split(|&byte| byte == b' ').next().map(crate::latin1).unwrap_or_default();
        self.send(request);
        self.read_response(&method).unwrap_or_else(|broken| panic!("no response to {}: {broken:?}", shown(request)))
    }

    /// A GET of `target` with nothing but a Host.
    ///
    /// # Panics
    /// As [`Self::exchange`].
    pub fn get(&mut self, target: &str) -> Response {
        self.exchange(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"))
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)
        .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("the patience is not zero");
    socket.set_write_timeout(Some(PATIENCE)).expect("the patience is not zero");
    socket.set_nodelay(true).expect("TCP has this option");
    socket
}

/// Makes the close of `socket` a RST instead of a FIN, and closes it.
pub(crate) fn reset(socket: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::http1::End;

    /// Serves one connection: reads one head, then writes `answer` and closes.
    fn serve(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut source = Source::new(socket.try_clone().expect("a second handle"));
            let _ = source.read_head();
            let _ = socket.write_all(answer);
        });
        address
    }

    #[test]
    fn interim_responses_come_before_the_final_one() {
        let address = serve(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        let response = RawClient::connect(address).get("/");
        assert_eq!((response.status, response.interim, response.body), (200, vec![100, 103], b"hi".to_vec()));
        assert_eq!(response.end, End::Complete);
    }

    #[test]
    fn a_cut_body_is_not_complete() {
        let address = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi");
        let response = RawClient::connect(address).get("/");
        assert!(!response.is_complete());
        assert_eq!(response.body, b"hi");
    }

    #[test]
    fn a_response_to_head_has_no_body() {
        let address = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        let mut client = RawClient::connect(address);
        let response = client.exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(response.is_complete());
        assert_eq!(client.read_to_end(), (Vec::new(), Closed::Clean));
    }

    #[test]
    fn an_end_before_the_head_is_no_response() {
        let address = serve(b"HTTP/1.1 200");
        let mut client = RawClient::connect(address);
        client.send("GET / HTTP/1.1\r\n\r\n");
        assert_eq!(
            client.read_response("GET").expect_err("cut"),
            Broken::Closed(Closed::Clean, b"HTTP/1.1 200".to_vec())
        );
    }
}
