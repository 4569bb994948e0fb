//! Whether what a source fetches is what a commit was made to.

use super::EngineState;
use crate::observation::{EngineKind, Role};
use crate::tracker::journey::CommitRef;

/// Whether what is stored after a commit holds that commit, too: the source follows the tip of that very branch.
pub(super) fn takes_the_tip(source: &EngineState, commit: &CommitRef) -> bool {
    let Role::Source(role) = &source.now.role else { return false };
    source.now.key.kind == EngineKind::GitRepository
        && role.branch.as_ref() == Some(&commit.branch)
        && role.url.as_ref().is_none_or(|url| may_be_one(url, &commit.repository))
}

/// Whether two addresses may be of one repository. A host has several names, inside and outside; a repository mostly
/// has one, and one owner where an address says it.
fn may_be_one(left: &str, right: &str) -> bool {
    let (left, right) = (Place::of(left), Place::of(right));
    let same = |left: &str, right: &str| left.eq_ignore_ascii_case(right);
    same(left.name, right.name) && left.owner.zip(right.owner).is_none_or(|(left, right)| same(left, right))
}

/// The end of the path of an address.
struct Place<'a> {
    owner: Option<&'a str>,
    name: &'a str,
}

impl<'a> Place<'a> {
    /// Of `https://host/owner/name.git`, `ssh://git@host:22/owner/name`, `git@host:owner/name.git`.
    fn of(address: &'a str) -> Self {
        let path = match address.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => address.split_once(':').map_or(address, |(_, path)| path),
        };
        let path = path.trim_end_matches('/');
        let mut words = path.strip_suffix(".git").unwrap_or(path).rsplit('/');
        let name = words.next().unwrap_or_default();
        Self { owner: words.next().filter(|owner| !owner.is_empty()), name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_repository_are_told_from_those_of_another() {
        let ours = "https://git.example.com/team/fleet.git";
        for (other, may_be) in [
            ("ssh://git@git.example.com:2222/team/fleet", true),
            ("git@git.internal:Team/fleet.git", true),
            ("http://10.0.0.1:3000/team/fleet/", true),
            ("https://git.example.com/scm/team/fleet.git", true),
            ("http://127.0.0.1:4000/fleet.git", true),
            ("https://git.example.com/team/infra.git", false),
            ("https://git.example.com/other/fleet", false),
            ("git@git.example.com:other/fleet.git", false),
            ("", false),
        ] {
            assert_eq!(may_be_one(ours, other), may_be, "{other}");
            assert_eq!(may_be_one(other, ours), may_be, "{other}");
        }
    }
}
