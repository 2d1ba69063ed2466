//! Secrets: written by reference, read once, never shown.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// A secret value. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: &str) -> Secret {
        Secret(Arc::from(value))
    }

    /// The value, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads what a reference names: `env:NAME` or `file:/path`.
    pub fn read(
        reference: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Secret, SecretError> {
        if let Some(name) = reference.strip_prefix("env:") {
            let value = variable(name).ok_or_else(|| SecretError::Unset(name.to_owned()))?;
            return Ok(Secret::new(&value));
        }
        let path = reference.strip_prefix("file:").ok_or(SecretError::NoReference)?;
        read_private(Path::new(path)).map(|text| Secret::new(text.trim()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why a secret could not be read. No variant holds any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Something else than a reference was written, perhaps the secret itself.
    #[error("it is no reference; write env:NAME or file:/path instead of the secret itself")]
    NoReference,
    /// The variable is not set.
    #[error("env:{0} is not set; set it, or use file:/path")]
    Unset(String),
    /// The file is not there or not readable.
    #[error("file:{0} cannot be read: {1}")]
    Unreadable(String, String),
    /// Others may read the file.
    #[error("file:{path} has mode {mode:04o}; run chmod 600 {path}")]
    Open {
        /// Which.
        path: String,
        /// Its mode.
        mode: u32,
    },
}

/// Reads a file that nobody but its owner may read.
pub(super) fn read_private(path: &Path) -> Result<String, SecretError> {
    let shown = path.display().to_string();
    let unreadable =
        |error: std::io::Error| SecretError::Unreadable(shown.clone(), error.to_string());
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Open { path: shown, mode });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_by_reference_and_never_printed() {
        let variable = |name: &str| (name == "K").then(|| "hush".to_owned());
        let secret = Secret::read("env:K", variable).expect("it is set");
        assert_eq!((secret.reveal(), format!("{secret:?}").as_str()), ("hush", "(secret)"));
        assert_eq!(Secret::read("env:L", variable), Err(SecretError::Unset("L".to_owned())));
        let told = Secret::read("hush", variable).expect_err("no reference").to_string();
        assert!(!told.contains("hush"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let path = std::env::temp_dir().join(format!("quorate-secret-{}", std::process::id()));
        std::fs::write(&path, "hush\n").expect("a temporary file");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("its own file");
            Secret::read(&format!("file:{}", path.display()), |_| None)
        };
        let (open, private) = (mode(0o644), mode(0o600));
        std::fs::remove_file(&path).expect("its own file");
        assert!(matches!(open, Err(SecretError::Open { mode: 0o644, .. })), "{open:?}");
        assert_eq!(private.expect("private").reveal(), "hush");
    }
}
