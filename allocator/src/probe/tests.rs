//! The rules by which a cell is judged.

use super::*;
use crate::heaps::memfd::Memfd;

const TIME: Duration = Duration::from_micros(40);

/// A device that takes every buffer but some.
struct Fake {
    buffers: usize,
    findings: Vec<Finding>,
}

impl Prober for Fake {
    fn info(&self) -> ImporterInfo {
        ImporterInfo {
            name: "test:fake".into(),
            driver: "fake".into(),
            node: None,
            identity: "a fake".into(),
        }
    }

    fn formats(&self) -> Vec<Fourcc> {
        vec![Fourcc::R8]
    }

    fn buffers(&self) -> usize {
        self.buffers
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        steps("test");
        assert_eq!(buffers.len(), self.buffers);
        self.findings.clone()
    }
}

fn cell(findings: Vec<Finding>) -> Cell {
    let mut fake = Fake { buffers: findings.len(), findings };
    probe(&mut fake, &Memfd::new(), Fourcc::R8, &mut |_| {})
}

fn efault() -> Finding {
    Finding::Refused(Refusal::errno("v4l2", "VIDIOC_QBUF", crate::errno::EFAULT))
}

#[test]
fn a_flaky_success_is_not_believed() {
    let mut findings = vec![Finding::Proven(TIME); 8];
    assert_eq!(cell(findings.clone()).result, Outcome::Ok);
    for last in (0..8).rev() {
        findings[last] = efault();
        let cell = cell(findings.clone());
        assert_eq!(cell.result, Outcome::Refused);
        assert_eq!(cell.step.as_deref(), Some("VIDIOC_QBUF"));
        assert_eq!(cell.errno.as_deref(), Some("EFAULT"));
        let reason = cell.reason.unwrap();
        assert!(reason.contains("contiguous"), "{reason}");
        let count = format!("{} of 8 buffers", 8 - last);
        assert_eq!(reason.contains(&count), last > 0, "{reason}");
    }
}

#[test]
fn the_worst_of_all_buffers_counts() {
    let wrong = Finding::WrongPixels(TIME, "3 of 4 pixels are wrong".into());
    let unknown = Finding::Unknown(Refusal::errno("kms", "atomic commit", 16));
    let open = Finding::Accepted(TIME, "accepted; pixels not provable here");
    let fine = Finding::Proven(TIME);
    let ok = cell(vec![open.clone(), fine.clone()]);
    assert_eq!((ok.result, ok.import_us), (Outcome::Ok, Some(40)));
    assert_eq!(ok.reason.as_deref(), Some("accepted; pixels not provable here"));
    assert_eq!((ok.step, ok.errno), (None, None));
    assert!(ok.alloc_us.is_some());

    let seen = cell(vec![fine.clone(), wrong.clone(), fine.clone()]);
    assert_eq!(seen.result, Outcome::WrongPixels);
    assert!(seen.reason.unwrap().contains("1 of 3 buffers"));
    assert_eq!(cell(vec![wrong, efault()]).result, Outcome::Refused);

    let busy = cell(vec![fine, unknown]);
    assert_eq!((busy.result, busy.errno.as_deref()), (Outcome::Error, Some("EBUSY")));
    assert_eq!(cell(Vec::new()).result, Outcome::Error);
}

#[test]
fn the_serialised_form_is_the_documented_one() {
    let text = serde_json::to_string(&cell(vec![efault()])).unwrap();
    for part in [
        r#""heap":"memfd""#,
        r#""importer":"test:fake""#,
        r#""format":"R8""#,
        r#""result":"refused""#,
        r#""step":"VIDIOC_QBUF""#,
        r#""errno":"EFAULT""#,
        r#""reason":""#,
        r#""import_us":null"#,
        r#""alloc_us":"#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let read: Cell = serde_json::from_str(&text).unwrap();
    assert_eq!(read.result, Outcome::Refused);
    assert_eq!(serde_json::to_string(&Outcome::WrongPixels).unwrap(), r#""wrong-pixels""#);
}
