//! What is said about mistakes, and where.

use super::*;

/// A valid rest for documents that are about something else.
const REST: &str = "
listeners: [ { address: 127.0.0.1:0 } ]
upstreams: { app: { endpoints: [ app:80 ] } }
routes: [ { upstream: app } ]
";

#[test]
fn each_mistake_is_said_at_its_place() {
    for (text, expected) in [
        // Keys.
        ("workrs: 1", "1:1 workrs: unknown key `workrs` | did you mean `workers`?"),
        ("reload: { wach: true }", "1:11 reload.wach: unknown key `wach` | did you mean `watch`?"),
        ("reload: { often: true }", "1:11 reload.often: unknown key `often` | known here: `watch`"),
        ("log:\n  level: info\n  level: warn", "3:3 the key `level` is in this map already, in line 2"),
        ("? [a]\n: b", "1:3 a key cannot be a list or a map"),
        // Types.
        ("workers: many", "1:10 workers: expected a whole number from 1 to 256, found `many`"),
        ("workers: 0", "1:10 workers: expected a whole number from 1 to 256, found the number `0`"),
        ("workers: 1.5", "1:10 workers: expected a whole number from 1 to 256, found the number `1.5`"),
        ("workers: \"4\"", "1:10 workers: expected a whole number from 1 to 256, found `4`"),
        ("workers: [1]", "1:1 workers: expected a whole number from 1 to 256, found a list"),
        (
            "workers:",
            "1:8 workers: expected a whole number from 1 to 256, found nothing | write a value, or leave the key out",
        ),
        ("reload: { watch: yes }", "1:18 reload.watch: expected `true` or `false`, found `yes`"),
        ("reload: [true]", "1:1 reload: expected a map, found a list"),
        ("reload: true", "1:9 reload: expected a map, found `true`"),
        ("admin: { address: 9901 }", "1:19 admin.address: expected text, found the number `9901` | write it in quotes"),
        // Words.
        ("log: { level: inf }", "1:15 log.level: unknown value `inf` | did you mean `info`?"),
        (
            "log: { level: loud }",
            "1:15 log.level: unknown value `loud` | known here: `error`, `warn`, `info`, `debug`, `trace`",
        ),
        ("log: { level: [info] }", "1:8 log.level: expected a word, found a list"),
        // Units.
        (
            "shutdown: { drain: 30 }",
            "1:20 shutdown.drain: expected a time such as `500ms`, `2s`, `5m` or `1h`, found the number `30`",
        ),
        (
            "shutdown: { drain: 1 minute }",
            "1:20 shutdown.drain: expected a time such as `500ms`, `2s`, `5m` or `1h`, found `1 minute`",
        ),
        ("shutdown: { drain: 25h }", "1:20 shutdown.drain: `25h` is not from 0s to 24h"),
        // Variables.
        ("workers: ${NONE}", "1:10 the variable `NONE` is not set | set it, or give it a default: `${NAME:-default}`"),
        ("workers: ${WORD}", "1:10 workers: expected a whole number from 1 to 256, found `many`"),
        ("workers: ${LIST}", "1:10 workers: expected a whole number from 1 to 256, found `[1, 2]`"),
        (
            "log: { level: ${EMPTY} }",
            "1:15 log.level: expected a word, found nothing | write a value, or leave the key out",
        ),
        // Values.
        (
            "admin: { address: 0.0.0.0:9901 }",
            "1:19 admin.address: others can reach `0.0.0.0:9901`, and the admin listener asks nobody who they are \
             | take a loopback address such as `127.0.0.1`, or set `allow_remote: true`",
        ),
        (
            "admin: { address: 127.0.0.1:${WORD} }",
            "1:19 admin.address: `127.0.0.1:many` is not an IP address with a port \
             | write it like `127.0.0.1:8080` or `[::1]:8080`",
        ),
        // YAML that is not for configurations.
        ("workers: !!int 1", "1:10 tags are not supported"),
        ("log: &a\n  level: *a", "2:10 an alias inside the value that it names"),
    ] {
        let text = format!("{text}{REST}");
        assert_eq!(errors(&text, Format::Yaml), [expected], "{text}");
    }
}

#[test]
fn routes_and_upstreams_have_their_own_mistakes() {
    let document = |upstreams: &str, routes: &str| {
        format!("listeners: [{{ address: 127.0.0.1:0 }}]\nupstreams:\n{upstreams}\nroutes:\n{routes}\n")
    };
    let app = "  app: { endpoints: [app:80] }";
    for (upstreams, routes, expected) in [
        (app, "  - upstream: ap", "5:15 routes[0].upstream: there is no upstream `ap` | did you mean `app`?"),
        (app, "  - upstream: web", "5:15 routes[0].upstream: there is no upstream `web` | known: `app`"),
        (
            app,
            "  - match: { prefix: / }",
            "5:5 routes[0]: says nothing about how to answer | give it one of `upstream`, `respond` and `redirect`",
        ),
        (
            app,
            "  - { upstream: app, respond: { status: 200 } }",
            "5:5 routes[0]: has more than one of `upstream`, `respond` and `redirect`",
        ),
        (
            app,
            "  - upstream: app\n    match:\n      header: { x-n: 1 }",
            "7:22 routes[0].match.header.x-n: expected text, or a map with `regex` or `present`, found the number `1` \
             | write it in quotes",
        ),
        (
            app,
            "  - upstream: app\n    match:\n      query: { a: { regex: x, present: true } }",
            "7:16 routes[0].match.query.a: needs exactly one of `regex` and `present`",
        ),
        (
            app,
            "  - upstream: app\n    filters:\n      - rate_limit: { fixed_window: { limit: ten, window: 1m } }",
            "7:46 routes[0].filters[0].rate_limit.fixed_window.limit: expected a whole number, found `ten`",
        ),
        (
            app,
            "  - upstream: app\n    filters:\n      - rate_limit: { fixed_window: { limit: 10, window: 1s }, by: [ip] }",
            "7:69 routes[0].filters[0].rate_limit.by[0]: `ip` is no part of a request | write `client_address`, `header:NAME`, \
             `cookie:NAME`, `host`, `path`, `method` or `route`",
        ),
        (
            app,
            "  - upstream: app\n    filters:\n      - rate_limit: { token_bucket: { rate: 10 }, max_wiat: 5s }",
            "7:51 routes[0].filters[0].rate_limit.max_wiat: unknown key `max_wiat` | did you mean `max_wait`?",
        ),
        (app, "  - respond: {}", "5:5 routes[0].respond: the key `status` is missing"),
        ("  app: {}", "  - upstream: app", "3:3 upstreams.app: the key `endpoints` is missing"),
        (
            "  app: { endpoints: app:80 }",
            "  - upstream: app",
            "3:21 upstreams.app.endpoints: expected a list, found `app:80`",
        ),
        (
            "  app:\n    endpoints:\n      - app:80\n      - { address: app:81, wieght: 2 }",
            "  - upstream: app",
            "6:28 upstreams.app.endpoints[1].wieght: unknown key `wieght` | did you mean `weight`?",
        ),
    ] {
        let text = document(upstreams, routes);
        assert_eq!(errors(&text, Format::Yaml), [expected], "{text}");
    }
}

#[test]
fn mistakes_in_a_balance_are_said_at_their_place() {
    for (written, expected) in [
        (
            "balance: least",
            "4:12 balance: unknown value `least` \
             | known here: `round_robin`, `weighted`, `least_requests`, `least_connections`, `peak_ewma`, `ip_hash`",
        ),
        ("balance: maglev", "4:12 balance: `maglev` needs to know its key: write `{ maglev: { by: path } }`"),
        ("balance: sticky_cookie", "4:12 balance: the cookie needs a name: write `{ sticky_cookie: { name: NAME } }`"),
        (
            "balance: [ip_hash]",
            "4:3 balance: expected a word such as `round_robin`, \
             or a map with `maglev` or `sticky_cookie`, found a list",
        ),
        (
            "balance: 5",
            "4:12 balance: expected a word such as `round_robin`, \
             or a map with `maglev` or `sticky_cookie`, found the number `5`",
        ),
        (
            "balance: {}",
            "4:3 balance: names no algorithm \
             | write `maglev` or `sticky_cookie` in it, or a word such as `round_robin`",
        ),
        ("balance: { maglev: {} }", "4:14 balance.maglev: the key `by` is missing"),
        (
            "balance: { maglev: { by: header } }",
            "4:28 balance.maglev.by: `header` is no part of a request \
             | write `header:NAME`, `cookie:NAME`, `client_address` or `path`",
        ),
        ("balance: { maglev: { by: \"header:a b\" } }", "4:28 balance.maglev.by: `a b` is not a field name"),
        (
            "balance: { maglev: { by: \"cookie:\" } }",
            "4:28 balance.maglev.by: `` is not the name of a cookie | take letters, digits, `-` and `_`",
        ),
        ("balance: { maglv: { by: path } }", "4:14 balance.maglv: unknown key `maglv` | did you mean `maglev`?"),
        (
            "balance: { maglev: { by: path }, sticky_cookie: { name: a } }",
            "4:3 balance: names two algorithms | leave one of them out",
        ),
        (
            "balance: { sticky_cookie: { name: \"a b\" } }",
            "4:37 balance.sticky_cookie.name: `a b` is not the name of a cookie | take letters, digits, `-` and `_`",
        ),
        (
            "balance: { sticky_cookie: { name: a, path: b } }",
            "4:46 balance.sticky_cookie.path: `b` is not the path of a cookie \
             | begin it with `/`, and leave out spaces and `;`",
        ),
        (
            "balance: { sticky_cookie: { name: a, ttl: 500ms } }",
            "4:45 balance.sticky_cookie.ttl: `500ms` is not from 1s to 9600h",
        ),
        (
            "balance: { sticky_cookie: { name: a, same_site: none, secure: false } }",
            "4:65 balance.sticky_cookie.secure: clients refuse such a cookie with `same_site: none` \
             | leave `secure` out, or choose another `same_site`",
        ),
        (
            "balance: { sticky_cookie: { name: a, key: \"\" } }",
            "4:45 balance.sticky_cookie.key: an empty key hides nothing | leave it out, or write a secret",
        ),
        ("panic_threshold: 50", "4:20 panic_threshold: expected a share such as `50%`, found the number `50`"),
        ("panic_threshold: 101%", "4:20 panic_threshold: `101%` is not from 0% to 100%"),
        ("slow_start: 0s", "4:15 slow_start: `0s` is not from 1ms to 24h"),
    ] {
        let text = format!(
            "listeners: [ {{ address: 127.0.0.1:0 }} ]\nroutes: [ {{ upstream: app }} ]\n\
             upstreams: {{ app: {{ endpoints: [ app:80 ],\n  {written} }} }}\n"
        );
        let found = errors(&text, Format::Yaml);
        let found: Vec<_> = found.iter().map(|error| error.replace("upstreams.app.", "")).collect();
        assert_eq!(found, [expected], "{text}");
    }
}

#[test]
fn mistakes_in_policies_are_said_at_their_place() {
    let whole = "expected a whole number, found";
    let time = "expected a duration such as `500ms`, `2s`, `5m` or `1h`, found";
    let share = "expected a share from 0% to 100%, or from 0 to 1, found";
    let kinds = "`rate_limit`, `keyed_rate_limit`, `circuit_breaker`, `bulkhead`, `adaptive`, `timeout`, `retry`, \
                 `hedge`, `chaos`";
    let before = "listeners: [ { address: 127.0.0.1:0 } ]\nupstreams:\n  app:\n    protect:\n    - ";
    let after = "    endpoints: [ app:80 ]\npolicies: { db: { circuit_breaker: {} } }\nroutes: [ { upstream: app } ]\n";
    for (step, expected) in [
        ("retyr: { attempts: 3 }", "5:7 [0].retyr: unknown key `retyr` | did you mean `retry`?".to_owned()),
        ("pause: {}", format!("5:7 [0].pause: unknown key `pause` | known here: `use`, {kinds}")),
        (
            "retry: { atempts: 3 }",
            "5:16 [0].retry.atempts: unknown key `atempts` | did you mean `attempts`?".to_owned(),
        ),
        ("retry: { attempts: 0 }", "5:26 [0].retry.attempts: must be from 1 to 100".to_owned()),
        ("retry: { attempts: many }", format!("5:26 [0].retry.attempts: {whole} `many`")),
        (
            "retry: { backoff: { strategy: linear, base: 1 } }",
            format!("5:51 [0].retry.backoff.base: {time} the number `1`"),
        ),
        (
            "retry: { backoff: { strategy: linear, bse: 1s } }",
            "5:45 [0].retry.backoff.bse: unknown key `bse` | did you mean `base`?".to_owned(),
        ),
        (
            "retry: { backoff: { strategy: linear, delay: 1s } }",
            "5:16 [0].retry.backoff: `delay` is no option of `linear`".to_owned(),
        ),
        ("retry: { backoff: linear }", "5:25 [0].retry.backoff: expected a map, found `linear`".to_owned()),
        (
            "adaptive: { algorithm: { kind: aimd, alpha: 1 } }",
            "5:19 [0].adaptive.algorithm: `alpha` is no option of `aimd`".to_owned(),
        ),
        ("bulkhead: { queue: -1 }", format!("5:26 [0].bulkhead.queue: {whole} the number `-1`")),
        ("timeout: { total: 2 }", format!("5:25 [0].timeout.total: {time} the number `2`")),
        ("timeout: { total: 2 minutes }", format!("5:25 [0].timeout.total: {time} `2 minutes`")),
        (
            "circuit_breaker: { failure_rate: 50 }",
            format!("5:40 [0].circuit_breaker.failure_rate: {share} the number `50`"),
        ),
        (
            "circuit_breaker: { window: { time: 10s, calls: 5 } }",
            "5:47 [0].circuit_breaker.window.calls: `calls` cannot stand beside `time`: this map has one key \
             | leave one out; in a list, begin each with a `-` of its own"
                .to_owned(),
        ),
        ("use: bd", "5:12 [0].use: there is no policy `bd` | did you mean `db`?".to_owned()),
        ("use: other", "5:12 [0].use: there is no policy `other` | known: `db`".to_owned()),
        (
            "retry",
            "5:7 [0]: expected a map with one key, found the word `retry` | write `retry: {}` for its defaults".to_owned(),
        ),
        ("retry:", "5:12 [0].retry: expected a map, found nothing | write a value, or leave the key out".to_owned()),
        ("{}", format!("5:7 [0]: expected a map with one key, found an empty one | known here: `use`, {kinds}")),
        ("[retry]", "5:7 [0]: expected a map with one key, found a list".to_owned()),
        (
            "keyed_rate_limit: { token_bucket: { rate: 1 } }",
            "5:7 [0]: nothing here says what the key of a request is | limit by key with a `rate_limit` filter of the route"
                .to_owned(),
        ),
        (
            "retry: {}\n    - retry: { attempts: 2 }",
            "6:7 [1]: a retry inside a retry makes up to 6 attempts of one call [nested_retries]".to_owned(),
        ),
        (
            "use: db\n    - use: db",
            "6:7 [1]: circuit_breaker(db) stands here twice and would count every call twice [same_policy_twice]".to_owned(),
        ),
    ] {
        let text = format!("{before}{step}\n{after}");
        let found = errors(&text, Format::Yaml);
        let found: Vec<_> = found.iter().map(|error| error.replace("upstreams.app.protect", "")).collect();
        assert_eq!(found, [expected], "{text}");
    }
}

#[test]
fn mistakes_in_policies_that_have_names_are_said_once() {
    for (policies, expected) in [
        (
            "{ db: { circuit_breaker: { probes: 0 } } }",
            "2:46 policies.db.circuit_breaker.probes: must be from 1 to 1000",
        ),
        (
            "{ db: { circuit_braker: {} } }",
            "2:19 policies.db.circuit_braker: unknown key `circuit_braker` | did you mean `circuit_breaker`?",
        ),
        (
            "{ db: { bulkhead: {} }, \"a b\": { retry: {} } }",
            "2:35 policies.\"a b\": `a b` is not a name | take letters, digits, `-`, `_` and `.`, 128 of them at most",
        ),
    ] {
        let text = format!(
            "listeners: [ {{ address: 127.0.0.1:0 }} ]\npolicies: {policies}\nroutes: [ {{ upstream: app }} ]\n\
             upstreams: {{ app: {{ endpoints: [ app:80 ], protect: [ use: db ] }} }}\n"
        );
        assert_eq!(errors(&text, Format::Yaml), [expected], "{text}");
    }
}

#[test]
fn policies_of_a_route_and_of_its_upstream_must_go_together() {
    let document = |upstream: &str, route: &str| {
        format!(
            "listeners: [ {{ address: 127.0.0.1:0 }} ]\nupstreams: {{ app: {{ endpoints: [ app:80 ], {upstream} }} }}\n\
             routes:\n- upstream: app\n  protect: [ {route} ]\n"
        )
    };
    assert_eq!(
        errors(&document("protect: [ retry: {} ]", "retry: {}"), Format::Yaml),
        ["5:3 routes[0].protect: a retry inside a retry makes up to 9 attempts of one call [nested_retries] \
          | the policies of the upstream stand inside those of the route"]
    );
    // The retry that an upstream has by default gives way.
    assert_eq!(errors(&document("replay: 0", "retry: {}"), Format::Yaml), [""; 0]);
    let nowhere = document("replay: 0", "retry: {}").replace("- upstream: app", "- respond: { status: 200 }");
    assert_eq!(
        errors(&nowhere, Format::Yaml),
        ["5:3 routes[0].protect: protects nothing: the route does not forward to an upstream"]
    );
}

#[test]
fn a_retry_that_nothing_bounds_is_a_warning() {
    let document = |response: &str, step: &str| {
        let loaded = yaml(&format!(
            "listeners: [ {{ address: 127.0.0.1:0 }} ]\nroutes: [ {{ upstream: app }} ]\n\
             upstreams: {{ app: {{ endpoints: [ app:80 ], timeouts: {{ response: {response} }},\n  \
             protect: [ {step} ] }} }}\n"
        ));
        lines(&loaded.warnings)
    };
    assert_eq!(
        document("off", "retry: {}"),
        ["4:14 upstreams.app.protect[0]: nothing ends an attempt that hangs, and so it is never tried again \
          [retry_without_timeout]"]
    );
    assert_eq!(document("60s", "retry: {}"), [""; 0]);
    // The gateway only copies requests that may be sent twice.
    assert_eq!(document("60s", "hedge: {}"), [""; 0]);
}

#[test]
fn all_mistakes_are_said_at_once_in_the_order_of_the_text() {
    let text = "\
workers: 500
listeners:
  - adress: 127.0.0.1:8080
    limits:
      head: 64kb
      nonsense: 1
  - address: localhost:8080
    timeouts: { head: 5 }
    tls:
upstreams:
  app:
    endpoints: [ \"127.0.0.1\" ]
    balance: roundrobin
  other: { endpoints: [ \"${NONE}:80\" ] }
routes:
  - match: { prefix: / }
    upstream: ap
  - match: { prefix: /b }
    upstream: other
  - upstream: app
    match:
      prefix: /
      prefix: /b
      regex: \"(\"
      method: get
access_log: { format: jsn }
";
    assert_eq!(
        errors(text, Format::Yaml),
        [
            "1:10 workers: expected a whole number from 1 to 256, found the number `500`",
            "3:5 listeners[0].adress: unknown key `adress` | did you mean `address`?",
            "5:13 listeners[0].limits.head: expected a size such as `64KiB`, `10MB` or a number of bytes, found `64kb`",
            "6:7 listeners[0].limits.nonsense: unknown key `nonsense` \
             | known here: `connections`, `head`, `fields`, `target`, `body`, `requests_per_connection`",
            "7:14 listeners[1].address: `localhost:8080` is not an IP address with a port | write `127.0.0.1:8080`",
            "8:23 listeners[1].timeouts.head: expected a time such as `500ms`, `2s`, `5m` or `1h`, found the number `5`",
            "9:8 listeners[1].tls: expected a map, found nothing | write a value, or leave the key out",
            "12:18 upstreams.app.endpoints[0]: `127.0.0.1` is not a host with a port: there is no port \
             | write it like `app.internal:8080`, `10.0.0.7:80` or `[::1]:80`",
            "13:14 upstreams.app.balance: unknown value `roundrobin` | did you mean `round_robin`?",
            "14:26 the variable `NONE` is not set | set it, or give it a default: `${NAME:-default}`",
            "17:15 routes[0].upstream: there is no upstream `ap` | did you mean `app`?",
            "21:5 routes[2].match: has more than one of `path`, `prefix` and `regex`",
            "23:7 the key `prefix` is in this map already, in line 22",
            "25:15 routes[2].match.method: `get` is another method than `GET`: methods are case-sensitive | write `GET`",
            "26:23 access_log.format: unknown value `jsn` | did you mean `json`?",
        ]
    );
}

#[test]
fn what_was_taken_out_does_not_look_missing() {
    // The only endpoint is wrong: that the list is empty without it is no second mistake.
    let text = "
listeners: [ { address: 127.0.0.1:0 } ]
upstreams: { app: { endpoints: [ { address: app:80, weight: 0 } ] } }
routes: [ { upstream: app }, { respond: { status: 99 } } ]
";
    assert_eq!(
        errors(text, Format::Yaml),
        [
            "3:61 upstreams.app.endpoints[0].weight: expected a whole number from 1 to 1000, found the number `0`",
            "4:51 routes[1].respond.status: expected a whole number from 200 to 599, found the number `99`",
        ]
    );
    // A name that is not known stays a mistake when another upstream was taken out.
    let text = "
listeners: [ { address: 127.0.0.1:0 } ]
upstreams: { app: 5 }
routes: [ { upstream: app }, { upstream: web } ]
";
    assert_eq!(
        errors(text, Format::Yaml),
        [
            "3:19 upstreams.app: expected a map, found the number `5`",
            "4:42 routes[1].upstream: there is no upstream `web` | known: `app`",
        ]
    );
}

#[test]
fn mistakes_after_the_64th_are_not_said() {
    let listeners = "  - { address: 127.0.0.1:0, x: 1 }\n".repeat(100);
    let found = errors(&format!("listeners:\n{listeners}"), Format::Yaml);
    assert_eq!(found.len(), 65);
    assert_eq!(found[64], "0:0 has more problems than are shown here");
}

#[test]
fn syntax_errors_have_their_place() {
    for (text, format, expected) in [
        ("a: [1", Format::Yaml, "1:6 this is not YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("a: 1\n b: 2", Format::Yaml, "2:3 this is not YAML: mapping values are not allowed in this context"),
        (
            "\"ü\": \"x",
            Format::Yaml,
            "1:6 this is not YAML: while scanning a quoted scalar, found unexpected end of stream",
        ),
        ("a: *none", Format::Yaml, "1:4 this is not YAML: while parsing node, found unknown anchor"),
        ("---\na: 1\n---\nb: 2", Format::Yaml, "3:1 a configuration is one YAML document"),
        ("a\0b", Format::Yaml, "1:2 has a NUL character"),
        ("", Format::Yaml, "1:1 is empty: at least one listener is needed"),
        ("# nothing\n", Format::Yaml, "1:1 is empty: at least one listener is needed"),
        ("---\n", Format::Yaml, "1:1 is empty: at least one listener is needed"),
        ("{}", Format::Yaml, "1:1 the key `listeners` is missing"),
        ("[]", Format::Yaml, "1:1 expected a map, found a list"),
        ("{\"a\": 1,}", Format::Json, "1:9 this is not JSON: key must be a string"),
        ("{\n  \"ü\" 1\n}", Format::Json, "2:7 this is not JSON: expected `:`"),
        ("{\"a\": 1", Format::Json, "1:7 this is not JSON: EOF while parsing an object"),
        ("", Format::Json, "1:1 this is not JSON: EOF while parsing a value"),
        ("{} {}", Format::Json, "1:4 this is not JSON: trailing characters"),
        (
            "{ \"log\": {}, \"log\": {}, \"listeners\": [] }",
            Format::Json,
            "1:14 the key `log` is in this map already, in line 1",
        ),
        ("a = 1\na = 2", Format::Toml, "2:1 this is not TOML: duplicate key"),
        ("", Format::Toml, "1:1 the key `listeners` is missing"),
    ] {
        let found = errors(text, format);
        assert_eq!(found[0], expected, "{text}");
    }
    assert_eq!(
        errors("a = \nb = 1\nc = ]", Format::Toml),
        [
            "1:5 this is not TOML: string values must be quoted, expected literal string",
            "3:5 this is not TOML: missing array opening, expected `[`",
        ]
    );
}

#[test]
fn places_are_right_in_every_format() {
    let json = "{\n  \"listeners\": [{ \"address\": \"127.0.0.1:0\", \"tsl\": {} }],\n  \"workers\": true\n}";
    assert_eq!(
        errors(json, Format::Json),
        [
            "2:45 listeners[0].tsl: unknown key `tsl` | did you mean `tls`?",
            "3:14 workers: expected a whole number from 1 to 256, found `true`",
        ]
    );
    let toml = "workers = true\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.tsl]\n[log]\nlevel = 5\n";
    assert_eq!(
        errors(toml, Format::Toml),
        [
            "1:11 workers: expected a whole number from 1 to 256, found `true`",
            "4:12 listeners[0].tsl: unknown key `tsl` | did you mean `tls`?",
            "6:9 log.level: unknown value `5` | known here: `error`, `warn`, `info`, `debug`, `trace`",
        ]
    );
    let crlf = "workers: 1\r\nlisteners:\r\n  - address: ü\r\n    x: 1\r\n";
    assert_eq!(
        errors(crlf, Format::Yaml),
        [
            "3:14 listeners[0].address: `ü` is not an IP address with a port \
             | write it like `127.0.0.1:8080` or `[::1]:8080`",
            "4:5 listeners[0].x: unknown key `x` \
             | known here: `address`, `tls`, `proxy_protocol`, `trusted_proxies`, `filters`, `limits`, `timeouts`, `http2`",
        ]
    );
    let wide = "listeners: [ { address: 127.0.0.1:0 } ] # ü\n\"ü\": 1 # 試験\nworkers: \"試\"\n";
    assert_eq!(errors(wide, Format::Yaml)[1], "3:10 workers: expected a whole number from 1 to 256, found `試`");
}

#[test]
fn excerpts_look_like_those_of_compilers() {
    let text = "listeners:\n  - adress: 127.0.0.1:8080\n";
    let errors = load_text(text, Format::Yaml).expect_err("a typo");
    assert_eq!(
        errors.to_string(),
        "\
error: listeners[0].adress: unknown key `adress`
 --> gateway:2:5
  |
2 |   - adress: 127.0.0.1:8080
  |     ^^^^^^
  |
  = help: did you mean `address`?"
    );
    assert!(errors.render(true).contains("\u{1b}["));
}

#[test]
fn programs_get_the_same_as_json() {
    let text = "listeners:\n  - adress: 127.0.0.1:8080\n";
    let errors = load_text(text, Format::Yaml).expect_err("a typo");
    assert_eq!(
        errors.to_json(),
        serde_json::json!([{
            "severity": "error",
            "file": "gateway",
            "line": 2,
            "column": 5,
            "end_line": 2,
            "end_column": 11,
            "path": "listeners[0].adress",
            "message": "unknown key `adress`",
            "help": "did you mean `address`?",
        }])
    );
}

#[test]
fn variables_add_no_structure() {
    let text = format!("workers: 1{REST}access_log: {{ to: ${{LIST}} }}\nlog: {{ level: ${{MAP}} }}");
    assert_eq!(
        errors(&text, Format::Yaml),
        ["6:15 log.level: unknown value `x\\n  balance: least_requests` \
             | known here: `error`, `warn`, `info`, `debug`, `trace`",]
    );
}
