//! Why a device node cannot be opened, and what mends it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A device node that this user may not open, and what would mend that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permission {
    /// The node.
    pub node: PathBuf,
    /// Its permission bits, such as `0o660`.
    pub mode: u32,
    /// The name of its group, or the number of a group without one.
    pub group: String,
    /// Whether this user is in that group.
    pub membership: Membership,
    /// The file of udev rules that gives the node to the user at the machine, if there is one.
    pub rule: Option<PathBuf>,
    /// The way to give this user access.
    pub remedy: Remedy,
}

/// A way to give a user access to a device node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The user joins this group, then logs in again.
    JoinGroup(String),
    /// The user is in this group already, and has to log in again.
    LogInAgain(String),
    /// A udev rule with this text: no group but that of root may open the node.
    UdevRule(String),
}

/// Whether a user is in a node's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// No.
    No,
    /// According to `/etc/group`, but this session began before that.
    AfterLogin,
    /// Yes.
    Yes,
}

impl Permission {
    /// Describes a node that exists but did not open.
    pub fn of(node: &Path) -> Self {
        let (mode, gid) =
            fs::metadata(node).map_or((0, 0), |meta| (meta.mode() & 0o777, meta.gid()));
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let membership = membership(gid, &groups);
        let rule = uaccess_rule(node);
        Self::explain(node, (mode, gid), &groups, membership, rule)
    }

    fn explain(
        node: &Path,
        (mode, gid): (u32, u32),
        groups: &str,
        membership: Membership,
        rule: Option<PathBuf>,
    ) -> Self {
        let group = group_name(gid, groups).unwrap_or_else(|| gid.to_string());
        let shared_with_group = gid != 0 && mode & 0o060 == 0o060;
        let remedy = match membership {
            Membership::AfterLogin if shared_with_group => Remedy::LogInAgain(group.clone()),
            Membership::No if shared_with_group => Remedy::JoinGroup(group.clone()),
            _ => {
                // The rule that systemd ships for udmabuf since 257: access for the user at the
                // machine.
                let name = node.file_name().unwrap_or_default().to_string_lossy();
                let subsystem = match node.parent().and_then(Path::to_str) {
                    Some("/dev/dma_heap") => "dma_heap",
                    Some("/dev/dri") => "drm",
                    _ if name.starts_with("video") => "video4linux",
                    _ => "misc",
                };
                Remedy::UdevRule(format!(
                    "SUBSYSTEM==\"{subsystem}\", KERNEL==\"{name}\", TAG+=\"uaccess\", \
                     GROUP=\"video\", MODE=\"0660\""
                ))
            }
        };
        Self { node: node.to_owned(), mode, group, membership, rule, remedy }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, mode, group, membership, rule, .. } = self;
        write!(f, "{} has mode {mode:04o} and group '{group}', ", node.display())?;
        f.write_str(match membership {
            Membership::Yes => "in which this user is",
            Membership::AfterLogin => "in which this user will be after logging in again",
            Membership::No => "in which this user is not",
        })?;
        if let Some(rule) = rule {
            write!(f, "; {} gives it to the user at the machine", rule.display())?;
        }
        Ok(())
    }
}

fn membership(gid: u32, groups: &str) -> Membership {
    let of_process = rustix::process::getgroups().unwrap_or_default();
    if rustix::process::getegid().as_raw() == gid
        || of_process.iter().any(|group| group.as_raw() == gid)
    {
        return Membership::Yes;
    }
    let uid = rustix::process::getuid().as_raw();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    match is_member(gid, uid, groups, &users) {
        true => Membership::AfterLogin,
        false => Membership::No,
    }
}

/// Whether the files `/etc/group` and `/etc/passwd` say that a user is in a group.
fn is_member(gid: u32, uid: u32, groups: &str, users: &str) -> bool {
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    let members = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.nth(2)?.parse() == Ok(gid)).then(|| fields.next().unwrap_or_default())
    });
    user.zip(members).is_some_and(|(user, members)| members.split(',').any(|one| one == user))
}

/// Where udev's rules are, the ones that count most first (`udev(7)`).
const RULES: [&str; 4] =
    ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];

/// The file of rules that gives a node to the user at the machine, by the tag `uaccess`.
///
/// systemd has such a rule for `/dev/udmabuf` since version 257.
pub fn uaccess_rule(node: &Path) -> Option<PathBuf> {
    let name = node.file_name()?.to_str()?;
    let folders = RULES.iter().filter_map(|folder| fs::read_dir(folder).ok());
    let mut files: Vec<_> = folders.flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rules"));
    files.into_iter().find(|file| {
        fs::read_to_string(file).is_ok_and(|rules| rules.lines().any(|line| gives(line, name)))
    })
}

/// Whether a rule tags a node of this name.
fn gives(rule: &str, name: &str) -> bool {
    let rule: String = rule.chars().filter(|letter| !letter.is_whitespace()).collect();
    !rule.starts_with('#')
        && rule.contains("\"uaccess\"")
        && rule.split(',').any(|part| {
            let names = part.strip_prefix("KERNEL==\"").and_then(|rest| rest.strip_suffix('"'));
            names.is_some_and(|names| names.split('|').any(|one| one == name))
        })
}

/// The name of a group, from `/etc/group`.
fn group_name(gid: u32, groups: &str) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_root_alone_is_mended_by_a_udev_rule() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("udmabuf");
        fs::write(&node, "").unwrap();
        fs::set_permissions(&node, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let permission = Permission::of(&node);
        assert_eq!(permission.mode, 0o600);
        let Remedy::UdevRule(rule) = &permission.remedy else { panic!("{permission:?}") };
        assert!(rule.starts_with("SUBSYSTEM==\"misc\", KERNEL==\"udmabuf\""), "{rule}");
        assert!(permission.to_string().contains("has mode 0600 and group"), "{permission}");
    }

    const GROUPS: &str = "root:x:0:\nkvm:x:104:alice,bob\n";
    const USERS: &str = "root:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n";

    fn permission(mode: u32, gid: u32, membership: Membership) -> Permission {
        let node = Path::new("/dev/udmabuf");
        Permission::explain(node, (mode, gid), GROUPS, membership, None)
    }

    #[test]
    fn what_mends_it_depends_on_the_group() {
        let stranger = permission(0o660, 104, Membership::No);
        let words = stranger.to_string();
        assert!(words.contains("group 'kvm', in which this user is not"), "{words}");
        assert_eq!(stranger.remedy, Remedy::JoinGroup("kvm".into()));
        let member = permission(0o660, 104, Membership::AfterLogin);
        assert_eq!(member.remedy, Remedy::LogInAgain("kvm".into()));
        let none = permission(0o600, 0, Membership::No);
        assert!(matches!(none.remedy, Remedy::UdevRule(_)), "{none:?}");
    }

    #[test]
    fn members_are_those_that_the_files_name() {
        assert!(is_member(104, 1001, GROUPS, USERS));
        assert!(!is_member(104, 0, GROUPS, USERS));
        assert!(!is_member(0, 1001, GROUPS, USERS));
        assert!(!is_member(104, 7, GROUPS, USERS));
    }

    #[test]
    fn a_rule_is_for_the_nodes_that_it_names() {
        let rule = r#"SUBSYSTEM=="misc", KERNEL=="udmabuf", TAG+="uaccess""#;
        assert!(gives(rule, "udmabuf"));
        assert!(!gives(rule, "kvm"));
        assert!(!gives(&format!("# {rule}"), "udmabuf"));
        assert!(!gives(r#"KERNEL=="udmabuf", GROUP="kvm""#, "udmabuf"));
        assert!(gives(r#"KERNEL=="kvm|udmabuf", TAG+="uaccess""#, "udmabuf"));
    }

    #[test]
    fn group_zero_is_root() {
        assert_eq!(group_name(0, GROUPS).as_deref(), Some("root"));
        assert_eq!(group_name(7, GROUPS), None);
    }
}
