//! What can rest: of whom, under which epoch, and for which models.
//!
//! | subject | written | epoch | speaks of |
//! | --- | --- | --- | --- |
//! | a credential | its handle | the member's | this member |
//! | a quota group | `g:<group>` | 0 | every member of the group, in any pool |
//! | a provider | `p:<provider>` | 0 | every member there, in any pool |
//!
//! Each with a reach: `*`, `m:<model>` or `f:<family>`. A model is in family f if f is one of its words, split
//! at `- _ . / : @`.
//!
//! Absent on purpose: for how long, and why.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::ids::CredentialHandle;
use crate::limits;

/// Of whom something is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A credential.
    Credential(CredentialHandle),
    /// Credentials that share one bucket.
    Group(Arc<str>),
    /// Everybody at a provider.
    Provider(Arc<str>),
}

/// For which models.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// All.
    All,
    /// One.
    Model(Arc<str>),
    /// Those with this word in their name.
    Family(Arc<str>),
}

impl Reach {
    /// Whether a request for `model` (empty: none is known) is within it.
    pub fn covers(&self, model: &str) -> bool {
        match self {
            Reach::All => true,
            Reach::Model(one) => **one == *model,
            Reach::Family(family) => words(model).any(|word| word == &**family),
        }
    }
}

/// The words of a model's name.
pub fn words(model: &str) -> impl Iterator<Item = &str> {
    model.split(['-', '_', '.', '/', ':', '@'])
}

/// Whom something is known of, under an epoch: 0 for all but credentials.
pub type Whom = (Subject, u64);

/// What can rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Of whom.
    pub whom: Whom,
    /// For which models.
    pub reach: Reach,
}

impl Target {
    /// Of a credential under an epoch.
    pub fn of(credential: CredentialHandle, epoch: u64, reach: Reach) -> Target {
        Target { whom: (Subject::Credential(credential), epoch), reach }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Credential(handle) => write!(f, "{handle}"),
            Subject::Group(group) => write!(f, "g:{group}"),
            Subject::Provider(provider) => write!(f, "p:{provider}"),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::All => f.write_str("*"),
            Reach::Model(model) => write!(f, "m:{model}"),
            Reach::Family(family) => write!(f, "f:{family}"),
        }
    }
}

/// `<subject>/<epoch>/<reach>`. Groups and models may hold a `/`, so subjects are written without one.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, epoch) = &self.whom;
        let subject = subject.to_string().replace('%', "%25").replace('/', "%2f");
        write!(f, "{subject}/{epoch}/{}", self.reach)
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Target, &'static str> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or("a target without its parts");
        let (subject, epoch, reach) = (part()?, part()?, part()?);
        let epoch: u64 = epoch.parse().map_err(|_| "an epoch that is no number")?;
        let target = Target { whom: (subject_of(subject)?, epoch), reach: reach_of(reach)? };
        let lone = !matches!(target.whom.0, Subject::Credential(_));
        if lone && epoch != 0 {
            return Err("an epoch of what has none");
        }
        // One target has one spelling, or two of its rests would not be folded into one.
        if target.to_string() == text { Ok(target) } else { Err("a target in another spelling") }
    }
}

fn subject_of(text: &str) -> Result<Subject, &'static str> {
    let text = text.replace("%2f", "/").replace("%25", "%");
    let bounded = |name: &str| !name.is_empty() && name.len() <= limits::POOL_NAME_BYTES_MAX;
    match (text.strip_prefix("g:"), text.strip_prefix("p:")) {
        (Some(group), _) if bounded(group) => Ok(Subject::Group(Arc::from(group))),
        (_, Some(provider)) if bounded(provider) => Ok(Subject::Provider(Arc::from(provider))),
        _ => {
            let handle = text.parse().map_err(|_| "a subject that is none")?;
            Ok(Subject::Credential(handle))
        }
    }
}

fn reach_of(text: &str) -> Result<Reach, &'static str> {
    let bounded = |name: &str| !name.is_empty() && name.len() <= limits::POOL_MODEL_BYTES_MAX;
    match (text, text.split_once(':')) {
        ("*", _) => Ok(Reach::All),
        (_, Some(("m", model))) if bounded(model) => Ok(Reach::Model(Arc::from(model))),
        (_, Some(("f", family))) if bounded(family) => Ok(Reach::Family(Arc::from(family))),
        _ => Err("a reach that is none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_spelling() {
        let handle = CredentialHandle(7);
        for target in [
            Target::of(handle, 1, Reach::All),
            Target::of(handle, 9, Reach::Model("openai/gpt-4o".into())),
            Target {
                whom: (Subject::Group("a/b%".into()), 0),
                reach: Reach::Family("opus".into()),
            },
            Target {
                whom: (Subject::Provider("zai".into()), 0),
                reach: Reach::Model("glm".into()),
            },
        ] {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        for wrong in ["", "x", "0000000000000007/1", "0000000000000007/01/*", "g:a/1/*", "g:/0/*"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_family_is_a_word_of_the_name() {
        let opus = Reach::Family("opus".into());
        assert!(opus.covers("claude-opus-4") && opus.covers("anthropic/claude.opus@1"));
        assert!(!opus.covers("claude-opusx") && !opus.covers(""));
        assert!(Reach::All.covers("") && !Reach::Model("a".into()).covers("b"));
    }
}
