//! Listening sockets on their way from one process to another.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// What both sides must agree on.
const VERSION: u32 = 1;

/// Bytes of the longest header.
const LONGEST_HEADER: usize = 1 << 20;

/// Sockets that are handed over at most.
const MOST_SOCKETS: usize = 1 << 16;

/// Sockets in one message; the kernel allows 253 (unix(7)).
const IN_ONE_MESSAGE: usize = 64;

/// Sockets with the addresses that they are configured for, whose port may be 0.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) listeners: Vec<(SocketAddr, Vec<TcpListener>)>,
    pub(crate) admin: Option<(SocketAddr, TcpListener)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    listeners: Vec<Group>,
    admin: Option<SocketAddr>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Group {
    address: SocketAddr,
    sockets: usize,
}

impl Sockets {
    /// Sends all of them. Both sides have them then.
    pub(super) fn send(&self, channel: &mut UnixStream) -> io::Result<()> {
        let header = serde_json::to_vec(&self.header())?;
        let length = u32::try_from(header.len()).ok().filter(|_| header.len() <= LONGEST_HEADER);
        let length = length.ok_or_else(|| io::Error::other("too many listeners to hand over"))?;
        channel.write_all(&length.to_be_bytes())?;
        channel.write_all(&header)?;
        let groups = self.listeners.iter().flat_map(|(_, sockets)| sockets);
        let all: Vec<_> = groups.chain(self.admin.iter().map(|(_, socket)| socket)).map(AsFd::as_fd).collect();
        all.chunks(IN_ONE_MESSAGE).try_for_each(|some| send_some(channel, some))
    }

    fn header(&self) -> Header {
        let group = |(address, sockets): &(_, Vec<_>)| Group { address: *address, sockets: sockets.len() };
        Header {
            version: VERSION,
            listeners: self.listeners.iter().map(group).collect(),
            admin: self.admin.as_ref().map(|(address, _)| *address),
        }
    }

    /// Receives what [`Self::send`] sends.
    pub(super) fn receive(channel: &mut UnixStream) -> io::Result<Self> {
        let header = receive_header(channel)?;
        let mut left = header.listeners.iter().map(|group| group.sockets).fold(0, usize::saturating_add);
        left = left.saturating_add(usize::from(header.admin.is_some()));
        if left > MOST_SOCKETS {
            return Err(invalid("too many sockets"));
        }
        let mut received = Vec::with_capacity(left);
        while received.len() < left {
            received.extend(receive_some(channel, IN_ONE_MESSAGE.min(left - received.len()))?);
        }
        let mut received = received.into_iter().map(TcpListener::from);
        let groups = header.listeners.into_iter();
        let listeners = groups.map(|group| (group.address, received.by_ref().take(group.sockets).collect()));
        let listeners = listeners.collect();
        Ok(Self { listeners, admin: header.admin.zip(received.next()) })
    }
}

fn receive_header(channel: &mut UnixStream) -> io::Result<Header> {
    let mut length = [0; 4];
    channel.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= LONGEST_HEADER);
    let mut header = vec![0; length.ok_or_else(|| invalid("the header is too long"))?];
    channel.read_exact(&mut header)?;
    let header: Header = serde_json::from_slice(&header)?;
    match header.version {
        VERSION => Ok(header),
        _ => Err(invalid("the running process speaks another version")),
    }
}

/// One message: a byte, because a message of nothing cannot carry anything, and the descriptors.
fn send_some(channel: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(IN_ONE_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("the descriptors do not fit"));
    }
    match sendmsg(channel, &[IoSlice::new(b"+")], &mut control, SendFlags::NOSIGNAL)? {
        1 => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// The descriptors of one message, which must be this many.
fn receive_some(channel: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(IN_ONE_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = recvmsg(channel, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::with_capacity(count);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            descriptors.extend(some);
        }
    }
    // Fewer arrive when this process may not hold that many.
    match descriptors.len() == count {
        true => Ok(descriptors),
        false => Err(invalid("not all sockets arrived; is the limit of open files too low?")),
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a free port")
    }

    fn configured(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn hand_over(sockets: &Sockets) -> io::Result<Sockets> {
        let (mut old, mut new) = UnixStream::pair().expect("a pair");
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || sockets.send(&mut old));
            let received = Sockets::receive(&mut new);
            drop(new);
            sending.join().expect("no panic")?;
            received
        })
    }

    #[test]
    fn every_socket_arrives_at_its_place() {
        // More than fit in two messages, and groups that messages cut in two.
        let groups: Vec<_> = [1, 90, 0, 60].into_iter().map(|count| (0..count).map(|_| listener()).collect()).collect();
        let listeners = groups.into_iter().zip(1..).map(|(group, port)| (configured(port), group)).collect();
        let sent = Sockets { listeners, admin: Some((configured(9), listener())) };
        let received = hand_over(&sent).expect("handed over");
        let name = |socket: &TcpListener| socket.local_addr().expect("bound");
        let names = |sockets: &Sockets| -> Vec<_> {
            let groups = sockets.listeners.iter().map(|(address, group)| (*address, group.iter().map(name).collect()));
            let admin = sockets.admin.iter().map(|(address, socket)| (*address, vec![name(socket)]));
            groups.chain(admin).collect::<Vec<(_, Vec<_>)>>()
        };
        assert_eq!(names(&received), names(&sent));
    }

    #[test]
    fn a_connection_in_the_queue_comes_along() {
        let socket = listener();
        let client = TcpStream::connect(socket.local_addr().expect("bound")).expect("a connection");
        let received = hand_over(&Sockets { listeners: vec![(configured(1), vec![socket])], admin: None });
        let received = received.expect("handed over");
        let (_, from) = received.listeners[0].1[0].accept().expect("the connection");
        assert_eq!(from, client.local_addr().expect("bound"));
    }

    #[test]
    fn received_descriptors_are_closed_on_exec() {
        let received = hand_over(&Sockets { listeners: vec![(configured(1), vec![listener()])], admin: None });
        let received = received.expect("handed over");
        let flags = rustix::io::fcntl_getfd(&received.listeners[0].1[0]).expect("open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    /// What becomes of these bytes.
    fn refused(bytes: &[u8]) -> io::Error {
        let (mut old, mut new) = UnixStream::pair().expect("a pair");
        old.write_all(bytes).expect("room in the buffer");
        drop(old);
        Sockets::receive(&mut new).expect_err("refused")
    }

    fn framed(header: &str) -> Vec<u8> {
        let length = u32::try_from(header.len()).expect("short");
        [&length.to_be_bytes()[..], header.as_bytes()].concat()
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(refused(b"").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(refused(b"\0\0\0\x09{}").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(refused(b"\xff\xff\xff\xff").to_string(), "the header is too long");
        assert_eq!(refused(&framed("{}")).kind(), io::ErrorKind::InvalidData);
        let other = framed(r#"{"version":2,"listeners":[],"admin":null}"#);
        assert_eq!(refused(&other).to_string(), "the running process speaks another version");
        let huge = u64::MAX;
        let many = format!(r#"{{"version":1,"listeners":[{{"address":"1.1.1.1:1","sockets":{huge}}}],"admin":null}}"#);
        assert_eq!(refused(&framed(&many)).to_string(), "too many sockets");
        let lonely = framed(r#"{"version":1,"listeners":[],"admin":"1.1.1.1:1"}"#);
        assert_eq!(refused(&[&lonely[..], b"+"].concat()).kind(), io::ErrorKind::InvalidData);
        assert_eq!(refused(&lonely).kind(), io::ErrorKind::UnexpectedEof);
    }
}
