//! Deserialisation from a tree, which never loses the place: every failure knows the value or key it is at.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::failure::{At, Failure};
use super::tree::{Entry, NodeId, Scalar, Tree, Value};

/// Reads one value of a tree.
#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'t> {
    tree: &'t Tree,
    id: NodeId,
}

impl<'t> NodeDeserializer<'t> {
    pub(super) fn new(tree: &'t Tree, id: NodeId) -> Self {
        Self { tree, id }
    }

    fn scalar(&self) -> Option<&'t Scalar> {
        match &self.tree.node(self.id).value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}

/// What a plain scalar is, by the core schema of YAML 1.2 (section 10.3.2), which contains JSON's.
#[derive(Debug, PartialEq)]
enum Plain<'t> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'t str),
}

impl<'t> Plain<'t> {
    fn of(text: &'t str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Bool(true),
            "false" | "False" | "FALSE" => return Self::Bool(false),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
                return Self::Float(f64::INFINITY);
            }
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            _ => {}
        }
        Self::number(text).unwrap_or(Self::Text(text))
    }

    fn number(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        // Anything else `parse` takes for a number, such as `infinity`, is text to YAML.
        let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if !digit(unsigned) && !unsigned.strip_prefix('.').is_some_and(digit) {
            return None;
        }
        if let Some(digits) = text.strip_prefix("0x") {
            return u64::from_str_radix(digits, 16).ok().map(Self::Unsigned);
        }
        if let Some(digits) = text.strip_prefix("0o") {
            return u64::from_str_radix(digits, 8).ok().map(Self::Unsigned);
        }
        let unsigned = text.parse().ok().map(Self::Unsigned);
        let signed = || text.parse().ok().map(Self::Signed);
        let float = || text.parse().ok().map(Self::Float);
        unsigned.or_else(signed).or_else(float)
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Unsigned(value) => visitor.visit_u64(value),
            Self::Signed(value) => visitor.visit_i64(value),
            Self::Float(value) => visitor.visit_f64(value),
            Self::Text(value) => visitor.visit_str(value),
        }
    }
}

/// Asks for a type that is not text: an expanded scalar becomes it, even when it is quoted.
macro_rules! typed {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            match self.scalar() {
                Some(scalar) if scalar.expanded => Plain::of(&scalar.text).visit(visitor),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

/// Asks for text: an expanded scalar is, even when it looks like a number.
macro_rules! text {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            match self.scalar() {
                Some(scalar) if scalar.expanded => visitor.visit_str(&scalar.text),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.tree.node(self.id).value {
            Value::Scalar(scalar) if scalar.quoted => visitor.visit_str(&scalar.text),
            Value::Scalar(scalar) => Plain::of(&scalar.text).visit(visitor),
            Value::Sequence(_) => visitor.visit_seq(Items { tree: self.tree, items: self.tree.items(self.id) }),
            Value::Map(_) => {
                visitor.visit_map(Entries { tree: self.tree, entries: self.tree.entries(self.id), value: None })
            }
        }
    }

    typed! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    text! { deserialize_str deserialize_string deserialize_char }

    /// A key without a value is never the same as no key: `tls:` does not mean no TLS.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    /// One of several kinds: a word, or a map with one entry where there is more to say. Words are taken as they are
    /// written, so that `1.2` need not be quoted where it is one of them.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        kinds: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let neither = |found| Kind { tree: self.tree, kinds, written: Written::Neither(found) };
        visitor.visit_enum(match &self.tree.node(self.id).value {
            Value::Scalar(scalar) if scalar.text.is_empty() => neither(Unexpected::Unit),
            Value::Scalar(scalar) => Kind { tree: self.tree, kinds, written: Written::Word(&scalar.text) },
            Value::Sequence(_) => neither(Unexpected::Seq),
            Value::Map(_) => {
                let entries: Vec<_> = self.tree.entries(self.id).collect();
                Kind { tree: self.tree, kinds, written: Written::Map(entries) }
            }
        })
    }

    /// A list is never a map without its keys, though derived visitors would take it.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.tree.node(self.id).value {
            Value::Sequence(_) => Err(Failure::invalid_type(Unexpected::Seq, &"a map")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

fn word(text: &str) -> StrDeserializer<'_, Failure> {
    text.into_deserializer()
}

/// One of several kinds, as it is written.
struct Kind<'t> {
    tree: &'t Tree,
    kinds: &'static [&'static str],
    written: Written<'t>,
}

enum Written<'t> {
    Word(&'t str),
    Map(Vec<&'t Entry>),
    Neither(Unexpected<'t>),
}

impl<'de> EnumAccess<'de> for Kind<'_> {
    type Error = Failure;
    type Variant = Self;

    /// Where no kind is written, the first one says what should be: a word or a map.
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Failure> {
        let kind = match &self.written {
            Written::Word(kind) => kind,
            Written::Map(entries) => match entries[..] {
                [entry] if self.kinds.contains(&entry.key.as_str()) => entry.key.as_str(),
                _ => self.first(),
            },
            Written::Neither(_) => self.first(),
        };
        Ok((seed.deserialize(word(kind))?, self))
    }
}

impl Kind<'_> {
    fn first(&self) -> &'static str {
        self.kinds.first().copied().unwrap_or_default()
    }

    /// The value of the one entry of the map that a kind with options is written as.
    fn options(&self) -> Result<NodeId, Failure> {
        match &self.written {
            Written::Word(kind) => Err(Failure::without_options(kind)),
            Written::Neither(found) => Err(Failure::invalid_type(*found, &"a map with one key")),
            Written::Map(entries) => match entries[..] {
                [Entry { key, value, .. }] if self.kinds.contains(&key.as_str()) => Ok(*value),
                [Entry { key, value, .. }] => Err(Failure::unknown_kind(key, self.kinds).at(At::Key(*value))),
                [] => Err(Failure::without_kind(self.kinds)),
                [first, second, ..] => Err(Failure::several_kinds(&first.key, &second.key).at(At::Key(second.value))),
            },
        }
    }
}

impl<'de> VariantAccess<'de> for Kind<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self.written {
            Written::Word(_) => Ok(()),
            Written::Map(_) => Err(Failure::invalid_type(Unexpected::Map, &"a word")),
            Written::Neither(found) => Err(Failure::invalid_type(found, &"a word")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        let id = self.options()?;
        seed.deserialize(NodeDeserializer::new(self.tree, id)).map_err(|failure| failure.at(At::Value(id)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        let id = self.options()?;
        NodeDeserializer::new(self.tree, id).deserialize_any(visitor).map_err(|failure| failure.at(At::Value(id)))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        self.tuple_variant(0, visitor)
    }
}

struct Items<'t, I> {
    tree: &'t Tree,
    items: I,
}

impl<'de, I: Iterator<Item = NodeId>> SeqAccess<'de> for Items<'_, I> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(id) = self.items.next() else {
            return Ok(None);
        };
        let value = seed.deserialize(NodeDeserializer::new(self.tree, id));
        value.map(Some).map_err(|failure| failure.at(At::Value(id)))
    }
}

struct Entries<'t, I> {
    tree: &'t Tree,
    entries: I,
    /// The value whose key was read.
    value: Option<NodeId>,
}

impl<'t, 'de, I: Iterator<Item = &'t Entry>> MapAccess<'de> for Entries<'t, I> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(entry.value);
        let key = seed.deserialize(word(&entry.key));
        key.map(Some).map_err(|failure| failure.at(At::Key(entry.value)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let id = self.value.take().ok_or_else(|| Failure::custom("a value before its key"))?;
        let value = seed.deserialize(NodeDeserializer::new(self.tree, id));
        value.map_err(|failure| failure.at(At::Value(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        for (text, plain) in [
            ("", Plain::Null),
            ("null", Plain::Null),
            ("true", Plain::Bool(true)),
            ("yes", Plain::Text("yes")),
            ("off", Plain::Text("off")),
            ("8080", Plain::Unsigned(8080)),
            ("010", Plain::Unsigned(10)),
            ("0x1F", Plain::Unsigned(31)),
            ("0o17", Plain::Unsigned(15)),
            ("-3", Plain::Signed(-3)),
            ("1.5", Plain::Float(1.5)),
            (".5", Plain::Float(0.5)),
            ("1e3", Plain::Float(1000.0)),
            ("-.inf", Plain::Float(f64::NEG_INFINITY)),
            ("18446744073709551616", Plain::Float(18_446_744_073_709_551_616.0)),
            ("inf", Plain::Text("inf")),
            ("nan", Plain::Text("nan")),
            ("infinity", Plain::Text("infinity")),
            ("-", Plain::Text("-")),
            (".", Plain::Text(".")),
            ("1.2.3", Plain::Text("1.2.3")),
            ("64KiB", Plain::Text("64KiB")),
            ("0xZ", Plain::Text("0xZ")),
            ("127.0.0.1:80", Plain::Text("127.0.0.1:80")),
        ] {
            assert_eq!(Plain::of(text), plain, "{text}");
        }
    }
}
