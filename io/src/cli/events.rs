//! Streams: events as they happen, and views that go on.

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::args::Output;
use super::client::{Client, Failure};
use super::show::text;

/// Bytes of an unfinished line before the stream is given up.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// `quorate event follow`.
pub(super) async fn follow(client: &Client, types: &[String]) -> Result<(), Failure> {
    let filter = match types {
        [] => String::new(),
        types => format!("?types={}", types.join(",")),
    };
    watch(client, &format!("/v1/events{filter}")).await
}

/// Prints every event of a Server-Sent Events stream until it ends.
pub(super) async fn watch(client: &Client, path: &str) -> Result<(), Failure> {
    let mut body = client.stream(path).await?;
    let mut reader = Reader::default();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Failure::Unavailable(format!("the stream broke: {error}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        for event in reader.push(&bytes)? {
            println!("{}", line(client, &event));
        }
    }
    Err(Failure::Unavailable("the node ended the stream".to_owned()))
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// Cuts a stream into events (HTML Living Standard §9.2.6).
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    event: Event,
}

impl Reader {
    /// Takes bytes; gives the events that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end_matches(['\n', '\r']), &mut events);
        }
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(Failure::Failed("the stream has a line without end".to_owned()));
        }
        Ok(events)
    }

    fn line(&mut self, line: &str, events: &mut Vec<Event>) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if !event.data.is_empty() || !event.name.is_empty() {
                events.push(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
    }
}

fn line(client: &Client, event: &Event) -> String {
    let data: Value =
        serde_json::from_str(&event.data).unwrap_or(Value::String(event.data.clone()));
    match client.output {
        Output::Json | Output::Yaml => {
            serde_json::json!({ "event": event.name, "data": data }).to_string()
        }
        Output::Table => format!("{:<16} {}", event.name, told(&data)),
    }
}

/// When, and what else the event says. Lists of a view stay as they are.
fn told(data: &Value) -> String {
    let Some(at) = data.get("at").and_then(Value::as_str) else { return data.to_string() };
    let fields = data.as_object().into_iter().flatten();
    let fields = fields.filter(|(key, _)| !matches!(key.as_str(), "at" | "type" | "node_id"));
    let fields: Vec<String> =
        fields.map(|(key, _)| format!("{key}={}", text(data, &format!("/{key}")))).collect();
    format!("{at}  {}", fields.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_in_a_line() {
        let data = serde_json::json!({
            "type": "member.up", "at": "T", "node_id": "a", "member": "b", "born": 2
        });
        assert_eq!(told(&data), "T  born=2 member=b");
        assert_eq!(told(&serde_json::json!({"items": []})), "{\"items\":[]}");
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_events() {
        let stream =
            b": hello\nevent: change\nid: x.1\ndata: {\"a\":1}\ndata: {}\n\nevent: reset\n\n";
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        let expected = [event("change", "{\"a\":1}\n{}"), event("reset", "")];
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            let mut reader = Reader::default();
            let mut events = reader.push(left).expect("short lines");
            events.extend(reader.push(right).expect("short lines"));
            assert_eq!(events, expected, "cut at {cut}");
        }
    }
}
