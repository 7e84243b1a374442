//! A video that a sensor sees, until its file is cut off.

use std::fs;
use std::path::{Path, PathBuf};

use vcam_pipeline::sensor::Settings;

/// A video that the sensor sees until it is cut off.
#[derive(Debug)]
pub struct VideoFile {
    folder: tempfile::TempDir,
    size: (u32, u32),
}

impl VideoFile {
    /// Two frames of grey, over and over.
    pub fn new(size: (u32, u32)) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap(), size };
        let (width, height) = size;
        let mut bytes = format!("YUV4MPEG2 W{width} H{height} F30:1 C420jpeg\n").into_bytes();
        for _ in 0..2 {
            bytes.extend(b"FRAME\n");
            bytes.resize(bytes.len() + (width * height * 3 / 2) as usize, 128);
        }
        fs::write(file.path(), bytes).unwrap();
        file
    }

    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("file.y4m")
    }

    /// The settings of a sensor that sees it.
    pub fn settings(&self) -> Settings {
        let source = self.path().display().to_string().parse().unwrap();
        Settings { source, size: self.size.into(), ..Settings::default() }
    }

    /// Leaves nothing of it but its header.
    pub fn cut_off(path: &Path) {
        fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    }
}
