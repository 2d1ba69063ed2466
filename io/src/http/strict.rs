//! JSON as it is meant: one value, no duplicate key, no surprise field, no bottomless nesting.
//!
//! [`parse`] reads bytes into a [`Value`] and refuses what a lenient reader would pass over: duplicate
//! keys, trailing data, nesting deeper than [`DEPTH_MAX`]. [`Fields`] then takes a body apart, collects
//! everything that is wrong with a JSON pointer each, and ends by refusing what nobody asked for.
//! *Absent*, `null` and empty are three things: a reader of `Fields` sees `null` as a value.
//!
//! Absent on purpose: defaults. What a missing field means is said where it is read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::Fault;

/// Objects and lists inside each other.
pub(crate) const DEPTH_MAX: usize = 32;

/// Reads exactly one JSON value.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Fault::new("", "encoding", "the body is not UTF-8"))?;
    let path = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Strict { path: &path, depth: 0 }.deserialize(&mut deserializer);
    let fault = |error: serde_json::Error| {
        let told = error.to_string();
        let (code, detail) = match told.split_once(MARK) {
            Some((_, rest)) if rest.starts_with("duplicate") => ("duplicate_key", rest.to_owned()),
            Some((_, rest)) => ("too_deep", rest.to_owned()),
            None => ("malformed", format!("the body is not JSON: {told}")),
        };
        let detail = detail.split(" at line").next().unwrap_or_default().to_owned();
        Fault::new(pointer(&path.borrow()), code, detail)
    };
    let value = read.map_err(fault)?;
    deserializer
        .end()
        .map_err(|_| Fault::new("", "trailing_data", "something follows the JSON value"))?;
    Ok(value)
}

/// Tells our refusals from those of the parser.
const MARK: &str = "quorate: ";

/// Reads one value at `depth`; leaves `path` where it stood if it fails.
#[derive(Clone, Copy)]
struct Strict<'a> {
    path: &'a RefCell<Vec<String>>,
    depth: usize,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!("{MARK}nested deeper than {DEPTH_MAX}")));
        }
        Ok(Strict { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        loop {
            self.path.borrow_mut().push(list.len().to_string());
            let Some(item) = items.next_element_seed(inner)? else { break };
            self.path.borrow_mut().pop();
            list.push(item);
        }
        self.path.borrow_mut().pop();
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.path.borrow_mut().push(key.clone());
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{MARK}duplicate key")));
            }
            let value = entries.next_value_seed(inner)?;
            self.path.borrow_mut().pop();
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

fn pointer(path: &[String]) -> String {
    path.iter().map(|part| format!("/{}", escape(part))).collect()
}

/// One reference token of a JSON pointer.
pub(crate) fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// The fields of a body on their way out of it.
#[derive(Debug)]
pub(crate) struct Fields {
    prefix: String,
    left: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Fields {
    /// The members of `value`, which must be an object.
    pub(crate) fn of(value: Value) -> Result<Fields, Vec<Fault>> {
        match value {
            Value::Object(left) => Ok(Fields { prefix: String::new(), left, faults: Vec::new() }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                Err(vec![Fault::new("", "wrong_type", "the body must be an object")])
            }
        }
    }

    /// The members of `value`, an object that stands at `pointer` of a body.
    pub(crate) fn at(pointer: String, value: Value) -> Result<Fields, Vec<Fault>> {
        match Fields::of(value) {
            Ok(fields) => Ok(Fields { prefix: pointer, ..fields }),
            Err(_) => Err(vec![Fault::new(pointer, "wrong_type", "expected an object")]),
        }
    }

    /// Where the object stands.
    pub(crate) fn pointer(&self) -> &str {
        &self.prefix
    }

    /// How much is wrong so far.
    pub(crate) fn fault_count(&self) -> usize {
        self.faults.len()
    }

    /// A member as it is.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// Remembers that something is wrong with a member.
    pub(crate) fn fault(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        self.faults.push(Fault::new(format!("{}/{}", self.prefix, escape(name)), code, detail));
    }

    /// A member that `read` understands; `expected` says what it should have been.
    pub(crate) fn optional<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let read = read(&value);
        if read.is_none() {
            self.fault(name, "wrong_type", format!("expected {expected}"));
        }
        read
    }

    /// A member that must be there.
    pub(crate) fn required<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if !self.left.contains_key(name) {
            self.fault(name, "missing", format!("`{name}` is needed: {expected}"));
            return None;
        }
        self.optional(name, expected, read)
    }

    /// Ends the reading: what is left was not asked for.
    pub(crate) fn finish(mut self) -> Result<(), Vec<Fault>> {
        for name in std::mem::take(&mut self.left).keys() {
            self.fault(name, "unknown_field", "no such field is known");
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }
}

/// Reads a string.
pub(crate) fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Reads a list of strings.
pub(crate) fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(string).collect()
}

/// Reads an object whose values are strings.
pub(crate) fn pairs(value: &Value) -> Option<BTreeMap<String, String>> {
    let members = value.as_object()?.iter();
    members.map(|(key, value)| Some((key.clone(), string(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, &'static str) {
        let fault = parse(text.as_bytes()).expect_err(text);
        (fault.pointer, fault.code)
    }

    #[test]
    fn what_a_lenient_reader_passes_over_is_refused_with_its_place() {
        assert_eq!(refused(r#"{"a":1,"a":2}"#), ("/a".into(), "duplicate_key"));
        assert_eq!(refused(r#"{"a":[0,{"b/c~":1,"b/c~":1}]}"#).0, "/a/1/b~1c~0");
        assert_eq!(refused("{} {}"), (String::new(), "trailing_data"));
        assert_eq!(refused(r#"{"a":NaN}"#), ("/a".into(), "malformed"));
        assert_eq!(refused(r#"[1,2,"#).1, "malformed");
        assert_eq!(refused("").1, "malformed");
        assert_eq!(parse(b"\"\xff\"").expect_err("no UTF-8").code, "encoding");
        assert_eq!(refused("{\"a\":1e999}").1, "malformed");
    }

    #[test]
    fn nesting_ends_at_thirty_two() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&nested(DEPTH_MAX + 1)).1, "too_deep");
        assert_eq!(refused(&nested(100_000)).1, "too_deep");
    }

    #[test]
    fn everything_wrong_with_a_body_is_told_at_once() {
        let body = parse(br#"{"addresses":"x","more":1,"flag":null}"#).expect("it is JSON");
        let mut fields = Fields::of(body).expect("it is an object");
        assert_eq!(fields.required("addresses", "a list of strings", strings), None);
        assert_eq!(fields.optional("flag", "a boolean", Value::as_bool), None);
        assert_eq!(fields.required("node", "a string", string), None);
        let faults = fields.finish().expect_err("four things are wrong");
        let told: Vec<_> = faults.iter().map(|f| (f.pointer.as_str(), f.code)).collect();
        let expected = [
            ("/addresses", "wrong_type"),
            ("/flag", "wrong_type"),
            ("/node", "missing"),
            ("/more", "unknown_field"),
        ];
        assert_eq!(told, expected);
    }
}
