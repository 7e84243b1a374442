//! The account of each link.

use serde::Serialize;
use vcam_allocator::{Dmabuf, LinkEnd, Method};

/// How frames got from one owner to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Link {
    /// The owner that fills the buffers.
    pub from: String,
    /// The owner that takes them.
    pub to: String,
    /// The pixel format, as a fourcc.
    pub format: String,
    /// The modifier.
    pub modifier: String,
    /// The heap that the buffers came from.
    pub heap: String,
    /// How frames crossed.
    pub method: Method,
    /// Why they were copied, or why nothing had to be imported.
    pub reason: Option<String>,
    /// Bytes copied.
    pub bytes_copied: u64,
    /// Imports made, at both ends.
    pub imports: u64,
    /// The first frame that crossed by this method.
    pub since_frame: u64,
}

impl Link {
    /// Joins the two ends of a link: it copies if either end does, and imports if either does.
    pub(crate) fn join(from: (&str, &LinkEnd), to: (&str, &LinkEnd), buffer: &Dmabuf) -> Self {
        let ends = [from.1, to.1];
        let method = [Method::Copy, Method::Import]
            .into_iter()
            .find(|method| ends.iter().any(|end| end.method == *method))
            .unwrap_or(Method::Native);
        let deciding = || ends.iter().filter(|end| end.method == method);
        let mut reasons: Vec<_> = deciding().filter_map(|end| end.reason.as_deref()).collect();
        reasons.dedup();
        Self {
            from: from.0.to_owned(),
            to: to.0.to_owned(),
            format: buffer.format().to_string(),
            modifier: buffer.modifier().to_string(),
            heap: buffer.heap().to_string(),
            method,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            bytes_copied: ends.iter().map(|end| end.bytes_copied).sum(),
            imports: ends.iter().map(|end| end.imports).sum(),
            since_frame: deciding().map(|end| end.since_frame).min().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use vcam_allocator::{Alignment, Fourcc, Heap, Layout, Refusal, heaps::memfd::Memfd};

    use super::*;

    #[test]
    fn a_link_copies_if_either_of_its_ends_does() {
        let layout = Layout::linear(Fourcc::R8, 16, 16, Alignment::default()).unwrap();
        let buffer = Memfd::new().allocate(&layout, "test").unwrap();
        let mut import = LinkEnd::import();
        import.imports = 3;
        let native = LinkEnd::native("in place");
        let mut copy = LinkEnd::import();
        copy.copied(5, &Refusal::because("kms:test", "ADDFB2", "no"), 100);
        copy.copied(6, &Refusal::because("kms:test", "ADDFB2", "no"), 100);

        let link = Link::join(("a", &import), ("b", &copy), &buffer);
        assert_eq!((link.method, link.bytes_copied, link.imports), (Method::Copy, 200, 3));
        assert_eq!(link.since_frame, 5);
        assert_eq!(link.reason.as_deref(), Some("kms:test: ADDFB2: no"));
        assert_eq!(Link::join(("a", &native), ("b", &import), &buffer).method, Method::Import);
        let link = Link::join(("a", &native), ("b", &native), &buffer);
        assert_eq!((link.method, link.reason.as_deref()), (Method::Native, Some("in place")));
    }
}
