//! Clients that people use, unchanged, through the gateway of a real node: the `openai` package of Python.
//!
//! `QUORATE_TEST_PYTHON` names an interpreter that has the package, else `python3` is asked. Where there is none
//! the test says so; with `QUORATE_TEST_REQUIRE=openai` it fails.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use quorate_tests::dev::Dev;
use quorate_tests::node::Said;
use quorate_tests::not_tested;

/// What the client does: an answer as a whole, an answer bit by bit, both interfaces, and a refusal that it
/// understands.
const SCRIPT: &str = r#"
import sys
from openai import OpenAI, NotFoundError, AuthenticationError
base, token = sys.argv[1:3]
client = OpenAI(base_url=base + "/gateway/codex/v1", api_key=token, max_retries=5)
messages = [{"role": "user", "content": "hello"}]
whole = client.chat.completions.create(model="gpt-5", messages=messages)
print("whole", whole.choices[0].message.content)
stream = client.chat.completions.create(model="gpt-5", messages=messages, stream=True)
pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content]
print("pieces", len(pieces), "".join(pieces))
response = client.responses.create(model="gpt-5", input="hello")
print("response", response.output_text)
with client.responses.stream(model="gpt-5", input="hello") as events:
    kinds = [event.type for event in events]
print("events", kinds[0], kinds[-1])
print("models", [model.id for model in client.models.list()])
raw = client.chat.completions.with_raw_response.create(model="gpt-5", messages=messages)
print("pool", raw.headers["quorate-pool"])
try:
    OpenAI(base_url=base + "/gateway/nobody/v1", api_key=token).models.list()
except NotFoundError as error:
    print("refused", error.status_code, error.body["code"])
try:
    OpenAI(base_url=base + "/gateway/codex/v1", api_key="qt_wrong").models.list()
except AuthenticationError as error:
    print("stranger", error.status_code, error.body["code"])
"#;

/// An interpreter with the package.
fn python() -> Result<PathBuf, String> {
    let named = std::env::var_os("QUORATE_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| PathBuf::from("python3"));
    let has = Command::new(&python).args(["-c", "import openai"]).stderr(Stdio::null()).status();
    match has {
        Ok(status) if status.success() => Ok(python),
        Ok(_) => Err(format!("{} has no package `openai`: pip install openai", python.display())),
        Err(error) => Err(format!("{} does not run: {error}", python.display())),
    }
}

#[test]
fn the_openai_package_speaks_through_the_gateway() {
    let python = match python() {
        Ok(python) => python,
        Err(missing) => {
            let required = std::env::var("QUORATE_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|part| part == "openai"), "{missing}");
            not_tested("the openai client through the gateway", &missing);
            return;
        }
    };
    let dev = Dev::start("clients");
    let [base, token] = dev.first_node();
    let said = Said::of(Command::new(python).args(["-c", SCRIPT, &base, &token]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let told = |word: &str| {
        let line = said.data.lines().find_map(|line| line.strip_prefix(word));
        line.unwrap_or_else(|| panic!("no `{word}` in {said:?}")).trim().to_owned()
    };
    assert!(told("whole").starts_with("Served by account codex-"), "{said:?}");
    assert!(told("pieces").starts_with("5 Served by account codex-"), "{said:?}");
    assert!(told("response").starts_with("Served by account codex-"), "{said:?}");
    assert_eq!(told("events"), "response.created response.completed");
    assert_eq!(told("models"), "['gpt-5']");
    assert_eq!(told("pool"), "codex");
    assert_eq!(told("refused"), "404 not_found");
    assert_eq!(told("stranger"), "401 unauthenticated");
}
