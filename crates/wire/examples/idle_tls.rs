//! Measures the resident memory of an idle TLS connection on the server side.
//!
//! `cargo run -p tidegate-wire --example idle_tls [connections]` opens that many connections (1,000 by default) from a
//! second process, exchanges one request's worth of bytes on each, leaves all of them waiting for the next request,
//! and prints how much this process has grown by each. Only Linux tells, through `/proc`.

use std::error::Error;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustls::ServerConnection;
use rustls::pki_types::ServerName;
use tidegate_wire::tls::{CertificateFiles, ClientTls, MinVersion, ServerTls, ServerTrust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

type Failure = Box<dyn Error + Send + Sync>;

const REQUEST: &[u8] = &[b'q'; 700];
const RESPONSE: &[u8] = &[b'r'; 300];
/// Connections before the first reading, so that what is allocated once is not counted.
const WARM_UP: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [role, address, count] if role == "client" => hold(address.parse()?, count.parse()?).await,
        [count] => measure(count.parse()?).await,
        _ => measure(1000).await,
    }
}

async fn measure(connections: usize) -> Result<(), Failure> {
    let acceptor = TlsAcceptor::from(server_side()?.config);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let total = connections + WARM_UP;
    let mut client = Command::new(std::env::current_exe()?)
        .args(["client", &listener.local_addr()?.to_string(), &total.to_string()])
        .stdin(Stdio::piped())
        .spawn()?;

    let mut idle = JoinSet::new();
    accept(&listener, &acceptor, WARM_UP, &mut idle).await?;
    let before = resident_bytes()?;
    accept(&listener, &acceptor, connections, &mut idle).await?;
    let grown = resident_bytes()?.saturating_sub(before);

    println!("{connections} idle TLS connections: {} bytes each", grown / connections);
    println!("  of which the stream itself: {}", size_of::<server::TlsStream<TcpStream>>());
    println!("  of which rustls' connection: {}", size_of::<ServerConnection>());
    // The client ends when its input does.
    drop(client.stdin.take());
    client.wait()?;
    Ok(())
}

fn server_side() -> Result<ServerTls, Failure> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let files =
        CertificateFiles { certificate: folder.path().join("certificate.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem())?;
    std::fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok(ServerTls::build(&[files], MinVersion::Tls12, &[b"http/1.1"])?)
}

/// Takes `count` connections, one after the other, as far as waiting for their second request.
async fn accept(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    count: usize,
    idle: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    for _ in 0..count {
        let (socket, _) = listener.accept().await?;
        let mut stream = acceptor.accept(socket).await?;
        stream.read_exact(&mut [0; REQUEST.len()]).await?;
        stream.write_all(RESPONSE).await?;
        stream.flush().await?;
        idle.spawn(async move {
            stream.read_u8().await?;
            Ok(())
        });
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The other process: opens the connections and holds them until its standard input ends.
async fn hold(address: SocketAddr, count: usize) -> Result<(), Failure> {
    let connector = TlsConnector::from(ClientTls::build(&ServerTrust::anyone(), None, &[])?.config);
    let mut held: Vec<client::TlsStream<TcpStream>> = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost")?;
        let mut stream = connector.connect(name, socket).await?;
        stream.write_all(REQUEST).await?;
        stream.flush().await?;
        stream.read_exact(&mut [0; RESPONSE.len()]).await?;
        held.push(stream);
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn resident_bytes() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kilobytes.ok_or("no VmRSS in /proc/self/status")?.parse::<usize>()? * 1024)
}
