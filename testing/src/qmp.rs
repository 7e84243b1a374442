//! The pictures on the machine's screens, through QEMU's control channel.
//!
//! Source: QEMU's QMP reference, `screendump`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

use crate::lab_output;

/// The control channel that the lab gives its guest.
#[derive(Debug)]
pub struct Qmp {
    to: File,
    from: BufReader<File>,
}

impl Qmp {
    /// Opens it, and agrees on capabilities.
    pub fn open() -> Self {
        let path = std::env::var_os("VCAM_LAB_QMP").expect("the lab sets VCAM_LAB_QMP");
        let to = OpenOptions::new().read(true).write(true).open(path).expect("the channel opens");
        let from = BufReader::new(to.try_clone().unwrap());
        let mut qmp = Self { to, from };
        // The first opening has to agree on capabilities; to later ones that is an unknown command.
        let _ = qmp.call(&json!({ "execute": "qmp_capabilities" }));
        qmp
    }

    /// Sends a command and waits for its answer.
    fn call(&mut self, command: &Value) -> Result<Value, Value> {
        self.to.write_all(format!("{command}\n").as_bytes()).expect("the channel takes it");
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).expect("the channel answers"), 0);
            let answer: Value = serde_json::from_str(&line).expect("QMP speaks JSON");
            if let Some(error) = answer.get("error") {
                return Err(error.clone());
            }
            if let Some(answer) = answer.get("return") {
                return Ok(answer.clone());
            }
            // The greeting, or an event.
        }
    }

    /// Presses these keys of the keyboard together, by QEMU's names for them.
    pub fn press(&mut self, keys: &[&str]) {
        let keys: Vec<_> = keys.iter().map(|key| json!({ "type": "qcode", "data": key })).collect();
        self.call(&json!({ "execute": "send-key", "arguments": { "keys": keys } }))
            .unwrap_or_else(|error| panic!("send-key: {error}"));
    }

    /// The picture on a screen: its width, and red, green and blue of each pixel.
    pub fn screen(&mut self, device: &str) -> (usize, Vec<u8>) {
        let file = lab_output(&format!("{device}.png"));
        let arguments = json!({ "device": device, "format": "png", "filename": file });
        self.call(&json!({ "execute": "screendump", "arguments": arguments }))
            .unwrap_or_else(|error| panic!("screendump of {device}: {error}"));
        let picture = image::open(&file).expect("QEMU wrote a PNG").into_rgb8();
        (picture.width() as usize, picture.into_raw())
    }
}
