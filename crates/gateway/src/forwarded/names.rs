//! The field names that services believe because "only our proxy can have written them".
//!
//! Frameworks, identity proxies and content networks tell a service through request fields who the client is, which
//! URL it meant, or which method. A client that is not a trusted proxy has no business writing any of them, and one
//! that does is lying; so they never pass from such a client to an upstream.
//!
//! Services that read fields as CGI variables (RFC 3875 section 4.1.18) see `X_Real_IP` and `X-Real-IP` as one name,
//! and some of them fold every other sign too. So here a letter or digit is itself in either case, and every other
//! character is a hyphen.
//!
//! The list is by nature incomplete: a name that one application made up can only be known to its operator. Names
//! that clients use for good reasons (`Authorization`, `X-Request-Id`, `X-Api-Key`, `Traceparent`) are not on it, nor
//! are ambiguous ones that applications define for themselves, such as `X-User-Id`.

/// Names that begin with `x-`, without it, in order. One that ends with `*` stands for all that begin so.
#[rustfmt::skip]
const X_NAMES: &[&str] = &[
    "accel-mapping", // Rack::Sendfile takes file paths from it
    "akamai-edgescape",
    "amzn-mtls-*", "amzn-oidc-*", "amzn-tls-*", // load balancers of AWS
    "anonymous-consumer", // Kong
    "apigateway-*", // -event and -context of AWS, -api-userinfo of Google
    "appengine-*",
    "arr-clientcert", "arr-ssl", // IIS and Azure App Service
    "auth-request-*", // oauth2-proxy
    "authenticated-*", // Kong
    "authentik-*",
    "azure-clientip", "azure-fdid", "azure-socketip", // Azure Front Door
    "client-cert", "client-dn", "client-ip", "client-verify", "clientip",
    "cluster-client-ip", // Rackspace, Zeus
    "consumer-*", "credential-identifier", // Kong
    "custom-ip-authorization",
    "endpoint-api-userinfo", // Cloud Endpoints of Google
    "envoy-*",
    "forward-for", "forward-host", "forward-proto",
    "forwarded", "forwarded-*",
    "goog-authenticated-user-*", "goog-iap-jwt-assertion", // Identity-Aware Proxy of Google
    "host", "host-override",
    "http-destinationurl", "http-host-override",
    "http-method", "http-method-*", // method override: ASP.NET, Express, Rails, Symfony
    "https",
    "method-override",
    "middleware-subrequest", // Next.js took it for its own and skipped authorisation
    "ms-client-principal", "ms-client-principal-*", "ms-token-*", // Azure App Service
    "nf-client-connection-ip", // Netlify
    "original-*", // -url and -uri of IIS and Symfony, -host, -forwarded-for of ingress-nginx, -method
    "originating-ip",
    "override-url",
    "pomerium-*",
    "proxy-user", "proxyuser-ip",
    "real-ip", "real-port",
    "remote-*", // -addr, -ip, -user; -group and -extra-* of Kubernetes
    "rewrite-*", // -url of IIS and Symfony
    "scheme",
    "script-name", // where WSGI applications believe to be mounted
    "sendfile-type", // Rack::Sendfile
    "ssl", "ssl-client-*",
    "true-client-ip",
    "url-scheme",
    "vercel-forwarded-for", "vercel-ip-*", "vercel-proxied-for",
    "vouch-*",
    "waws-*", // Azure App Service
    "webauth-*", // Grafana behind an authenticating proxy
];

/// Names that begin with anything else, in order.
#[rustfmt::skip]
const OTHER_NAMES: &[&str] = &[
    "cf-*", // Cloudflare: -connecting-ip, -visitor, -access-authenticated-user-email
    "client-cert", "client-cert-chain", // RFC 9440 section 2.4 demands it
    "client-ip",
    "cloudfront-*",
    "cluster-client-ip",
    "do-connecting-ip", // DigitalOcean
    "fastly-client", "fastly-client-ip", "fastly-ssl",
    "fly-client-ip", "fly-forwarded-*",
    "forwarded", // RFC 7239
    "forwarded-*",
    "front-end-https", // Exchange and other services of Microsoft
    "gap-*", // the forerunner of oauth2-proxy
    "http-client-ip", "http-forwarded", "http-forwarded-for", "http-x-*", // CGI variables spelt out
    "incap-client-ip", // Imperva
    "iv-*", // WebSEAL of IBM
    "oam-*", // Oracle Access Manager
    "oidc-*", // mod_auth_openidc: OIDC_CLAIM_sub and so on
    "proxy", // becomes HTTP_PROXY for CGI programs (CVE-2016-5385)
    "proxy-client-ip", // WebLogic and many Java libraries after it
    "real-ip",
    "remote-*", // -addr; -user, -groups and -email of Authelia
    "shib-*", // Shibboleth
    "sm-*", // SiteMinder
    "ssl-client-*",
    "tailscale-*",
    "true-client-ip", // Akamai, Cloudflare
    "wl-proxy-*", // WebLogic
];

/// For each first letter, where its names begin in the list and where those of the next letter do.
type Index = [u8; 27];

const X_INDEX: Index = index(X_NAMES);
const OTHER_INDEX: Index = index(OTHER_NAMES);

/// Whether a field of this name must not pass from an untrusted client.
#[must_use]
pub fn is_spoofable(name: &[u8]) -> bool {
    match name {
        [x, hyphen, rest @ ..] if fold(*x) == b'x' && fold(*hyphen) == b'-' => is_listed(rest, X_NAMES, &X_INDEX),
        _ => is_listed(name, OTHER_NAMES, &OTHER_INDEX),
    }
}

fn is_listed(name: &[u8], names: &[&str], index: &Index) -> bool {
    let Some(first) = name.first().map(|&first| fold(first)) else { return false };
    let letter = usize::from(first.wrapping_sub(b'a'));
    if letter >= 26 {
        return false;
    }
    let range = usize::from(index[letter])..usize::from(index[letter + 1]);
    // The second character alone rules out nearly all that share the first.
    let second = name.get(1).map(|&second| fold(second));
    let mut likely = names[range].iter().map(|listed| listed.as_bytes()).filter(|listed| Some(listed[1]) == second);
    likely.any(|listed| matches(listed, name))
}

fn matches(listed: &[u8], name: &[u8]) -> bool {
    match listed.strip_suffix(b"*") {
        Some(start) => name.len() > start.len() && is_same(start, &name[..start.len()]),
        None => name.len() == listed.len() && is_same(listed, name),
    }
}

fn is_same(listed: &[u8], name: &[u8]) -> bool {
    listed.iter().zip(name).all(|(&listed, &byte)| listed == fold(byte))
}

/// How a CGI program sees a character: case and the kind of sign are lost.
const fn fold(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' => byte,
        b'A'..=b'Z' => byte | 0x20,
        _ => b'-',
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each list is shorter than 256")]
const fn index(names: &[&str]) -> Index {
    assert!(names.len() < 256, "the index counts in bytes");
    let mut index = [0; 27];
    let mut letter = 0;
    let mut at = 0;
    while letter < 26 {
        index[letter] = at as u8;
        while at < names.len() && names[at].as_bytes()[0] == b'a' + letter as u8 {
            at += 1;
        }
        letter += 1;
    }
    assert!(at == names.len(), "the names are in the order of their first letters");
    index[26] = at as u8;
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_and_identity_names_are_known() {
        for name in [
            "X-Forwarded-For",
            "x-forwarded-proto",
            "x-forwarded-client-cert",
            "x-forwarded",
            "forwarded",
            "X-Real-IP",
            "x-original-url",
            "x-original-uri",
            "x-rewrite-url",
            "X-HTTP-Method-Override",
            "x-http-method",
            "x-method-override",
            "x-client-ip",
            "True-Client-IP",
            "CF-Connecting-IP",
            "x-envoy-original-path",
            "x-envoy-internal",
            "x-remote-user",
            "Remote-User",
            "client-cert",
            "client-cert-chain",
            "proxy",
            "x-auth-request-email",
            "x-middleware-subrequest",
            "wl-proxy-client-ip",
        ] {
            assert!(is_spoofable(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn other_spellings_are_the_same_name() {
        for name in ["x_forwarded_for", "X_FORWARDED-FOR", "x.real.ip", "X~Real~IP", "x_envoy-internal", "Remote_User"]
        {
            assert!(is_spoofable(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_clients_rightly_send_passes() {
        for name in [
            "accept",
            "accept-language",
            "authorization",
            "baggage",
            "cache-control",
            "connection",
            "content-length",
            "cookie",
            "dnt",
            "expect",
            "from",
            "host",
            "http2-settings",
            "if-none-match",
            "idempotency-key",
            "origin",
            "priority",
            "proxy-authorization",
            "range",
            "referer",
            "sec-fetch-mode",
            "te",
            "traceparent",
            "tracestate",
            "upgrade-insecure-requests",
            "user-agent",
            "via",
            "x-api-key",
            "x-b3-traceid",
            "x-client-version",
            "x-csrf-token",
            "x-forward",
            "x-request-id",
            "x-requested-with",
            "x-team",
            "x-user-id",
            "x",
            "x-",
            "",
            "-",
            "x-remote-",
            "x-original",
            "cf-",
            "_",
            "1",
            "\u{e9}",
        ] {
            assert!(!is_spoofable(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn every_listed_name_is_found_through_the_index() {
        for (prefix, names) in [("x-", X_NAMES), ("", OTHER_NAMES)] {
            for listed in names {
                let name = format!("{prefix}{}", listed.replace('*', "anything"));
                assert!(is_spoofable(name.as_bytes()), "{name}");
                assert!(is_spoofable(name.to_uppercase().replace('-', "_").as_bytes()), "{name}");
            }
            assert!(names.is_sorted_by_key(|name| name.trim_end_matches('*')), "{names:?}");
        }
    }
}
