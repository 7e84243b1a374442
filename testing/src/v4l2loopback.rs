//! v4l2loopback: the readers of a node get the pictures that are written to it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A node that says that it takes and gives pictures at once.
const BOTH: &str = "/dev/video40";

/// A node that takes pictures and, once a program sends some, gives pictures.
pub const EXCLUSIVE: &str = "/dev/video41";

/// Loads the module, once; the nodes.
pub fn nodes() -> [PathBuf; 2] {
    static LOADED: OnceLock<()> = OnceLock::new();
    LOADED.get_or_init(|| {
        let loaded = Command::new("insmod")
            .arg("/run/lab/modules/v4l2loopback.ko")
            .args([
                "devices=2",
                "video_nr=40,41",
                "exclusive_caps=0,1",
                "card_label=both,exclusive",
            ])
            .output()
            .unwrap();
        assert!(loaded.status.success(), "{loaded:?}");
    });
    [BOTH, EXCLUSIVE].map(PathBuf::from)
}

/// A program that takes pictures from a node, one after the other.
#[derive(Debug)]
pub struct Reader(Child);

impl Reader {
    /// Begins to read. The driver has a picture already, or this fails.
    pub fn open(node: &Path) -> Self {
        let child = Command::new("v4l2-ctl")
            .arg("-d")
            .arg(node)
            .args(["--stream-mmap", "--stream-to=-"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Waits for the next picture. It has to be of whole pages: of others the reader keeps the end
    /// for later.
    pub fn next(&mut self, bytes: usize) -> Vec<u8> {
        assert_eq!(bytes % 4096, 0);
        let mut picture = vec![0; bytes];
        self.0.stdout.as_mut().unwrap().read_exact(&mut picture).unwrap();
        picture
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
