//! Why a handshake failed, in few enough words for a metric's label.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// The reason a handshake failed. The names are stable; there are few, so that each can have its own counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// It took longer than allowed.
    Timeout,
    /// The peer closed or reset the connection.
    Closed,
    /// What the peer sent is not TLS; often plain HTTP.
    NotTls,
    /// No protocol version in common.
    Version,
    /// No cipher suite, key exchange or signature algorithm in common.
    Parameters,
    /// No application protocol in common (RFC 7301).
    Alpn,
    /// The peer's certificate is issued by nobody we trust.
    UnknownIssuer,
    /// The peer's certificate has expired or is not valid yet.
    CertificateTime,
    /// The peer's certificate is for another name.
    CertificateName,
    /// The peer's certificate is not acceptable for another reason, or there is none.
    Certificate,
    /// The peer refused our certificate, or wants one that we do not have.
    Refused,
    /// The peer ended the handshake with an alert about something else.
    Alert,
    /// The peer broke the protocol.
    Protocol,
    /// Anything else, on our side or in between.
    Other,
}

impl HandshakeFault {
    /// Every reason, in the order of their discriminants: `ALL[fault as usize] == fault`.
    pub const ALL: [Self; 14] = [
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::Version,
        Self::Parameters,
        Self::Alpn,
        Self::UnknownIssuer,
        Self::CertificateTime,
        Self::CertificateName,
        Self::Certificate,
        Self::Refused,
        Self::Alert,
        Self::Protocol,
        Self::Other,
    ];

    /// The name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Version => "version",
            Self::Parameters => "parameters",
            Self::Alpn => "alpn",
            Self::UnknownIssuer => "unknown_issuer",
            Self::CertificateTime => "certificate_time",
            Self::CertificateName => "certificate_name",
            Self::Certificate => "certificate",
            Self::Refused => "refused",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
            Self::Other => "other",
        }
    }

    /// The reason inside what accepting or connecting returned.
    pub fn of(error: &io::Error) -> Self {
        let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<Error>());
        match inside {
            Some(error) => of_rustls(error),
            None => of_kind(error.kind()),
        }
    }
}

fn of_kind(kind: io::ErrorKind) -> HandshakeFault {
    match kind {
        io::ErrorKind::TimedOut => HandshakeFault::Timeout,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => HandshakeFault::Closed,
        _ => HandshakeFault::Other,
    }
}

fn of_rustls(error: &Error) -> HandshakeFault {
    match error {
        Error::InvalidMessage(reason) => of_message(*reason),
        Error::PeerIncompatible(reason) => of_incompatibility(reason),
        Error::NoApplicationProtocol => HandshakeFault::Alpn,
        Error::InvalidCertificate(reason) => of_certificate(reason),
        Error::NoCertificatesPresented | Error::UnsupportedNameType => HandshakeFault::Certificate,
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => HandshakeFault::Protocol,
        _ => HandshakeFault::Other,
    }
}

/// A record header that no TLS peer would send means that the peer speaks something else.
fn of_message(reason: rustls::InvalidMessage) -> HandshakeFault {
    use rustls::InvalidMessage::{InvalidContentType, MessageTooLarge, UnknownProtocolVersion};
    match reason {
        InvalidContentType | MessageTooLarge | UnknownProtocolVersion => HandshakeFault::NotTls,
        _ => HandshakeFault::Protocol,
    }
}

fn of_incompatibility(reason: &PeerIncompatible) -> HandshakeFault {
    match reason {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => HandshakeFault::Version,
        _ => HandshakeFault::Parameters,
    }
}

fn of_certificate(reason: &CertificateError) -> HandshakeFault {
    match reason {
        CertificateError::UnknownIssuer => HandshakeFault::UnknownIssuer,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => HandshakeFault::CertificateTime,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            HandshakeFault::CertificateName
        }
        _ => HandshakeFault::Certificate,
    }
}

fn of_alert(alert: AlertDescription) -> HandshakeFault {
    match alert {
        AlertDescription::ProtocolVersion => HandshakeFault::Version,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => HandshakeFault::Parameters,
        AlertDescription::NoApplicationProtocol => HandshakeFault::Alpn,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::CertificateRequired => HandshakeFault::Refused,
        _ => HandshakeFault::Alert,
    }
}
