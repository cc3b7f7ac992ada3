//! The gateway's structured log as the tests read it.

use serde_json::Value;

/// One line that the gateway wrote; lines that are not JSON (a panic, for example) have no fields.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The line as written.
    pub text: String,
    json: Option<Value>,
}

impl LogLine {
    /// Reads a line.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), json: serde_json::from_str(text).ok() }
    }

    /// A field, at the top or under `fields`.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let json = self.json.as_ref()?;
        json.get("fields").and_then(|fields| fields.get(name)).or_else(|| json.get(name))
    }

    /// A field as text, whether it was written as a string or a number.
    pub fn text_of(&self, name: &str) -> Option<String> {
        self.field(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Whether the message is exactly this.
    pub fn says(&self, message: &str) -> bool {
        self.field("message").and_then(Value::as_str) == Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_nested_and_flat() {
        for text in [r#"{"fields":{"message":"listening","listener":0}}"#, r#"{"message":"listening","listener":"0"}"#]
        {
            let line = LogLine::new(text);
            assert!(line.says("listening"));
            assert_eq!(line.text_of("listener").as_deref(), Some("0"));
        }
        assert!(!LogLine::new("thread panicked").says("listening"));
    }
}
