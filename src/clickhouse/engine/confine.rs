//! Taking this process's right to the host's files away, before any SQL runs in it.

use std::path::Path;

/// Confines the process to its own store, its configuration, its library and what every process may read of the
/// system; says whether that worked. It needs Linux with Landlock (5.19 or later, and not switched off). Call it
/// while the process has one thread: those it starts later inherit it, others do not.
#[cfg(target_os = "linux")]
pub(super) fn confine(store: &Path, readable: &[&Path]) -> bool {
    linux::restrict(store, readable).unwrap_or(false)
}

/// No means to confine a process without rights here.
#[cfg(not(target_os = "linux"))]
pub(super) fn confine(_store: &Path, _readable: &[&Path]) -> bool {
    false
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::Path;

    use landlock::{
        ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetError, RulesetStatus, path_beneath_rules,
    };

    /// Libraries and time zones, the machine's figures, name resolution. `/proc/self` is this process: others' are
    /// out of reach, and with them their environments.
    const SYSTEM: &[&str] = &[
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/share/zoneinfo",
        "/etc/host.conf",
        "/etc/hosts",
        "/etc/localtime",
        "/etc/nsswitch.conf",
        "/etc/resolv.conf",
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/self",
        "/proc/stat",
        "/proc/sys",
        "/proc/uptime",
        "/proc/vmstat",
        "/sys/block",
        "/sys/class",
        "/sys/devices",
        "/sys/fs/cgroup",
    ];
    const DEVICES: &[&str] = &["/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

    pub(super) fn restrict(store: &Path, readable: &[&Path]) -> Result<bool, RulesetError> {
        let read = AccessFs::from_read(ABI::V2);
        let status = Ruleset::default()
            // Without ABI 2 no file can be renamed into another directory, and ClickHouse does.
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V2))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V3))?
            .create()?
            .add_rules(path_beneath_rules(SYSTEM, read))?
            .add_rules(path_beneath_rules(readable, read))?
            .add_rules(path_beneath_rules(DEVICES, read | AccessFs::WriteFile))?
            .add_rules(path_beneath_rules([store], AccessFs::from_all(ABI::V3)))?
            .restrict_self()?;
        Ok(status.ruleset != RulesetStatus::NotEnforced)
    }
}
