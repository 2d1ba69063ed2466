//! The fields of a body that have a name in the rules; every other byte is only checked to be JSON.
//!
//! Objects are read in one pass. A field that is not of the kind it should be is absent; of a repeated key
//! the last counts. Numbers are kept as they are written, because some have more digits than any type.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A text or a number, as written.
pub(super) type Leaf<'a> = Option<&'a RawValue>;

/// An object of a body, by the keys that the rules name.
pub(super) trait Object<'de>: Default {
    /// Takes the value of `key` if the rules name it; says whether it did.
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// A value that should be an object or a list of them.
#[derive(Debug, Default)]
pub(super) enum Json<'a, T> {
    #[default]
    Absent,
    Object(Box<T>),
    List(Vec<T>),
    Text(Cow<'a, str>),
    /// A number or a truth value.
    Other,
}

impl<'a, T> Json<'a, T> {
    pub(super) fn object(&self) -> Option<&T> {
        match self {
            Json::Object(object) => Some(object),
            Json::Absent | Json::List(_) | Json::Text(_) | Json::Other => None,
        }
    }

    pub(super) fn list(&self) -> &[T] {
        match self {
            Json::List(list) => list,
            Json::Absent | Json::Object(_) | Json::Text(_) | Json::Other => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&Cow<'a, str>> {
        match self {
            Json::Text(text) => Some(text),
            Json::Absent | Json::Object(_) | Json::List(_) | Json::Other => None,
        }
    }

    fn is_absent(&self) -> bool {
        matches!(self, Json::Absent)
    }
}

impl<'de, T: Object<'de>> Deserialize<'de> for Json<'de, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader { lists: true, object: PhantomData })
    }
}

/// Reads any value; of a list inside a list nothing is kept, so that nesting costs no stack.
struct Reader<T> {
    lists: bool,
    object: PhantomData<T>,
}

impl<'de, T: Object<'de>> DeserializeSeed<'de> for Reader<T> {
    type Value = Json<'de, T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Json<'de, T>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: Object<'de>> Visitor<'de> for Reader<T> {
    type Value = Json<'de, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Absent)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Json::Other)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        if !self.lists {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Json::Other);
        }
        let mut list = Vec::new();
        let item = || Reader { lists: false, object: PhantomData };
        while let Some(item) = items.next_element_seed(item())? {
            if let Json::Object(object) = item {
                list.push(*object);
            }
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Box::<T>::default();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            if !object.take(&key, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Json::Object(object))
    }
}

/// A key, copied only where it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Key<'de>, D::Error> {
        from.deserialize_str(KeyReader)
    }
}

struct KeyReader;

impl<'de> Visitor<'de> for KeyReader {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }
}

/// The text that a leaf is.
pub(super) fn text<'a>(leaf: Leaf<'a>) -> Option<Cow<'a, str>> {
    let written = leaf?.get();
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(written).ok().map(Cow::Owned)
}

/// The text that a leaf is, or its digits if it is an integer.
pub(super) fn word<'a>(leaf: Leaf<'a>) -> Option<Cow<'a, str>> {
    text(leaf).or_else(|| number(leaf).filter(|written| is_integer(written)).map(Cow::Borrowed))
}

/// The text that a leaf is, or a number as it is written.
pub(super) fn text_or_number<'a>(leaf: Leaf<'a>) -> Option<Cow<'a, str>> {
    text(leaf).or_else(|| number(leaf).map(Cow::Borrowed))
}

/// The number that a leaf is, as it is written.
pub(super) fn number<'a>(leaf: Leaf<'a>) -> Option<&'a str> {
    let written = leaf?.get();
    written.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then_some(written)
}

fn is_integer(written: &str) -> bool {
    let digits = written.strip_prefix('-').unwrap_or(written);
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Takes leaves and objects by their keys.
macro_rules! object {
    ($name:ident, { $($key:literal => $field:ident),* $(,)? }) => {
        impl<'de> Object<'de> for $name<'de> {
            fn take<A: MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match key {
                    $($key => self.$field = map.next_value()?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}

/// The body as a whole.
#[derive(Debug, Default)]
pub(super) struct Top<'a> {
    pub(super) error: Json<'a, ErrorObject<'a>>,
    response: Json<'a, Response<'a>>,
    pub(super) aws_type: Leaf<'a>,
    pub(super) kind: Leaf<'a>,
    pub(super) code: Leaf<'a>,
    pub(super) message: Leaf<'a>,
    pub(super) error_code: Leaf<'a>,
}

object!(Top, {
    "error" => error,
    "response" => response,
    "__type" => aws_type,
    "type" => kind,
    "code" => code,
    "message" => message,
    "error_code" => error_code,
});

impl<'a> Top<'a> {
    /// `error`, else `response.error`.
    pub(super) fn error_object(&self) -> Option<&ErrorObject<'a>> {
        let inner = || self.response.object()?.error.object();
        self.error.object().or_else(inner)
    }

    /// The text that `error`, else `response.error`, is instead of an object.
    pub(super) fn error_text(&self) -> Option<&Cow<'a, str>> {
        let inner = || self.response.object()?.error.text();
        self.error.text().or_else(inner)
    }

    /// Whether there is an error at all, of whatever kind.
    pub(super) fn has_error(&self) -> bool {
        let inner = self.response.object().is_some_and(|response| !response.error.is_absent());
        inner || !self.error.is_absent()
    }
}

#[derive(Debug, Default)]
struct Response<'a> {
    error: Json<'a, ErrorObject<'a>>,
}

object!(Response, { "error" => error });

/// The error object.
#[derive(Debug, Default)]
pub(super) struct ErrorObject<'a> {
    pub(super) kind: Leaf<'a>,
    pub(super) code: Leaf<'a>,
    pub(super) message: Leaf<'a>,
    pub(super) status: Leaf<'a>,
    pub(super) resets_at: Leaf<'a>,
    pub(super) resets_in_seconds: Leaf<'a>,
    pub(super) details: Json<'a, Detail<'a>>,
    pub(super) metadata: Json<'a, Metadata<'a>>,
}

object!(ErrorObject, {
    "type" => kind,
    "code" => code,
    "message" => message,
    "status" => status,
    "resets_at" => resets_at,
    "resets_in_seconds" => resets_in_seconds,
    "details" => details,
    "metadata" => metadata,
});

/// `error.metadata`.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    pub(super) limit_source: Leaf<'a>,
    pub(super) headers: Json<'a, Carried<'a>>,
}

object!(Metadata, { "limit_source" => limit_source, "headers" => headers });

/// `error.metadata.headers`, whose names ignore case, so that one may come twice.
#[derive(Debug, Default)]
pub(super) struct Carried<'a> {
    pub(super) retry_after: Vec<Leaf<'a>>,
    pub(super) reset: Vec<Leaf<'a>>,
}

impl<'de> Object<'de> for Carried<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        if key.eq_ignore_ascii_case("retry-after") {
            self.retry_after.push(map.next_value()?);
        } else if key.eq_ignore_ascii_case("x-ratelimit-reset") {
            self.reset.push(map.next_value()?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// One of `error.details`.
#[derive(Debug, Default)]
pub(super) struct Detail<'a> {
    pub(super) kind: Leaf<'a>,
    pub(super) reason: Leaf<'a>,
    pub(super) retry_delay: Leaf<'a>,
    pub(super) metadata: Json<'a, DetailMetadata<'a>>,
    pub(super) violations: Json<'a, Violation<'a>>,
}

object!(Detail, {
    "@type" => kind,
    "reason" => reason,
    "retryDelay" => retry_delay,
    "metadata" => metadata,
    "violations" => violations,
});

/// `metadata` of an `ErrorInfo`.
#[derive(Debug, Default)]
pub(super) struct DetailMetadata<'a> {
    pub(super) reset_time_stamp: Leaf<'a>,
    pub(super) reset_delay: Leaf<'a>,
}

object!(DetailMetadata, {
    "quotaResetTimeStamp" => reset_time_stamp,
    "quotaResetDelay" => reset_delay,
});

/// One of `violations` of a `QuotaFailure`.
#[derive(Debug, Default)]
pub(super) struct Violation<'a> {
    pub(super) quota_id: Leaf<'a>,
    pub(super) dimensions: Json<'a, Dimensions<'a>>,
}

object!(Violation, { "quotaId" => quota_id, "quotaDimensions" => dimensions });

/// `quotaDimensions` of a violation.
#[derive(Debug, Default)]
pub(super) struct Dimensions<'a> {
    pub(super) model: Leaf<'a>,
}

object!(Dimensions, { "model" => model });

/// The object that `text` is as a whole; of a list its first object.
pub(super) fn parse(text: &str) -> Option<Top<'_>> {
    match serde_json::from_str::<Json<'_, Top<'_>>>(text).ok()? {
        Json::Object(top) => Some(*top),
        Json::List(list) => list.into_iter().next(),
        Json::Absent | Json::Text(_) | Json::Other => None,
    }
}

/// The first `data:` line of an event stream whose object has an error.
pub(super) fn first_error_event(stream: &[u8]) -> Option<Top<'_>> {
    let lines = stream.split(|byte| matches!(byte, b'\n' | b'\r'));
    let mut events = lines.filter_map(|line| {
        let data = std::str::from_utf8(line.strip_prefix(b"data:")?).ok()?;
        match serde_json::from_str::<Json<'_, Top<'_>>>(data).ok()? {
            Json::Object(top) => Some(*top),
            Json::Absent | Json::List(_) | Json::Text(_) | Json::Other => None,
        }
    });
    events.find(Top::has_error)
}
