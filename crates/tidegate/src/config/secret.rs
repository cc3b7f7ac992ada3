//! Values that are not shown, whoever asks.

use serde_json::Value;

/// What stands in their place.
pub(crate) const CONCEALED: &str = "(secret)";

/// Options that hold a secret: the key of the map that they stand in, and their own.
const SECRETS: [(&str, &str); 1] = [("sticky_cookie", "key")];

/// Whether an option at this path, such as `upstreams.app.balance.sticky_cookie.key`, holds a secret.
pub(crate) fn is_secret(path: &str) -> bool {
    let mut parts = path.rsplit('.');
    let (own, map) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    SECRETS.contains(&(map, own))
}

/// Puts [`CONCEALED`] in the place of every secret.
pub(crate) fn conceal(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                for (_, own) in SECRETS.iter().filter(|(map, _)| map == key) {
                    if let Some(secret) = value.get_mut(*own) {
                        *secret = Value::from(CONCEALED);
                    }
                }
                conceal(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(conceal),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_concealed_wherever_they_stand() {
        let mut value = json!([{ "balance": { "sticky_cookie": { "name": "a", "key": "b" } }, "key": "public" }]);
        conceal(&mut value);
        let cookie = json!({ "name": "a", "key": CONCEALED });
        assert_eq!(value, json!([{ "balance": { "sticky_cookie": cookie }, "key": "public" }]));
        assert!(is_secret("upstreams.app.balance.sticky_cookie.key") && !is_secret("key") && !is_secret("tls.key"));
    }
}
