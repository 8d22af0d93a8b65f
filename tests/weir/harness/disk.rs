//! A filesystem that is small enough to run full.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Mounts a filesystem of `$1` bytes at `$0`, for this process alone, and becomes what the other words say.
const MOUNT: &str = r#"
mkdir -p "$0" && mount -t tmpfs -o "size=$1,mode=700" tmpfs "$0" ||
    { echo "this test needs a small filesystem, and may not mount one here" >&2; exit 1; }
shift
exec "$@"
"#;

/// A command that runs `program` with a small filesystem at `folder`: in a mount namespace of its own, so that
/// nothing has to be cleaned up, and in a user namespace too where it takes that to be allowed to mount.
pub fn on_small_disk(folder: &Path, bytes: u64, program: &str) -> Command {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new("unshare");
    command.arg("--mount").args((!is_root).then_some("--map-root-user"));
    command.args(["--", "sh", "-c", MOUNT]).arg(folder).arg(bytes.to_string()).arg(program);
    command
}
