//! What a device says when it is handed a buffer, and the memory of what it said.

use std::collections::HashMap;
use std::fmt;

use crate::constraints::{Rule, Statement};
use crate::dmabuf::{BufferId, Dmabuf, WeakDmabuf};
use crate::errno::{self, errno_name};

/// A device does not take a buffer.
///
/// Reads as `virtio_gpu: PRIME_FD_TO_HANDLE: ENODEV (No such device)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{device}: {step}: {}", Words(*errno, detail))]
pub struct Refusal {
    /// The device, as reports name it.
    pub device: String,
    /// The step that failed, by the name of the ioctl, call or extension.
    pub step: &'static str,
    /// The kernel's error number, where one was given.
    pub errno: Option<i32>,
    /// What it means, in words; may be empty beside an error number.
    pub detail: String,
}

impl Refusal {
    /// A refusal by the kernel.
    pub fn errno(device: &str, step: &'static str, errno: i32) -> Self {
        Self { device: device.to_owned(), step, errno: Some(errno), detail: String::new() }
    }

    /// A refusal in words.
    pub fn because(device: &str, step: &'static str, detail: impl Into<String>) -> Self {
        Self { device: device.to_owned(), step, errno: None, detail: detail.into() }
    }
}

struct Words<'a>(Option<i32>, &'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(errno, detail) = self;
        match errno {
            Some(number) => {
                write!(f, "{} ({})", errno_name(*number), errno::text(*number))?;
                if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
            }
            None => f.write_str(detail),
        }
    }
}

impl Refusal {
    /// What a plan learns from it: this device takes no buffers of that heap.
    pub fn statement(&self, heap: &str) -> Statement {
        let source = match self.errno {
            Some(number) => format!("{}: {}", self.step, errno_name(number)),
            None => format!("{}: {}", self.step, self.detail),
        };
        Statement::new(&self.device, &source, Rule::NotHeaps([heap.to_owned()].into()))
    }
}

/// A device that buffers may be handed to.
///
/// This is the question a plan asks before streaming; each device keeps what it imported in an
/// [`ImportCache`] of its own, so that the frames that follow cost nothing.
pub trait Importer {
    /// The device, as reports name it: `kind:driver`, such as `kms:vkms`.
    fn name(&self) -> String;

    /// What tells this device and its driver from others of the same name: its path in sysfs
    /// ([`sysfs::device`](crate::sysfs::device)), or the version of a driver that is a library.
    ///
    /// What is learned about it is kept under this, from one run to the next.
    fn identity(&self) -> String;

    /// Imports the buffer for real, or says why that cannot be.
    fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal>;

    /// Never imports this buffer: it is known to go wrong, or a copy is cheaper. Its frames are
    /// copied from then on, with this as the reason.
    fn decline(&mut self, buffer: &Dmabuf, refusal: Refusal);
}

/// What a device made of each buffer, kept for the buffer's life; refusals too, so that none is
/// asked for twice.
///
/// Keyed by the buffer's identity and not by its descriptor. An entry does not keep its buffer
/// alive, and is dropped once the buffer is gone, at the next import.
#[derive(Debug)]
pub struct ImportCache<T> {
    entries: HashMap<BufferId, (WeakDmabuf, Result<T, Refusal>)>,
    imports: u64,
}

impl<T> Default for ImportCache<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), imports: 0 }
    }
}

impl<T> ImportCache<T> {
    /// What the device made of this buffer; `import` is called the first time only.
    pub fn get_or_import(
        &mut self,
        buffer: &Dmabuf,
        import: impl FnOnce(&Dmabuf) -> Result<T, Refusal>,
    ) -> Result<&T, Refusal> {
        let id = buffer.id();
        let known = self.entries.get(&id).is_some_and(|(weak, _)| weak.is(buffer));
        if !known {
            self.entries.retain(|_, (weak, _)| !weak.is_gone());
            let result = import(buffer);
            self.imports += u64::from(result.is_ok());
            self.entries.insert(id, (buffer.downgrade(), result));
        }
        match &self.entries[&id].1 {
            Ok(made) => Ok(made),
            Err(refusal) => Err(refusal.clone()),
        }
    }

    /// What is known of this buffer; the device is not asked.
    pub fn get(&self, buffer: &Dmabuf) -> Option<Result<&T, &Refusal>> {
        let (weak, result) = self.entries.get(&buffer.id())?;
        weak.is(buffer).then_some(result.as_ref())
    }

    /// Forgets a success, because the device refused the buffer later on.
    pub fn poison(&mut self, buffer: &Dmabuf, refusal: Refusal) {
        self.entries.insert(buffer.id(), (buffer.downgrade(), Err(refusal)));
    }

    /// How many imports succeeded since the cache was made.
    pub fn imports(&self) -> u64 {
        self.imports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heaps::memfd::Memfd;
    use crate::{Alignment, Fourcc, Heap, Layout};

    fn buffer() -> Dmabuf {
        let layout = Layout::linear(Fourcc::R8, 16, 16, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        let refusal = Refusal::errno("virtio_gpu", "PRIME_FD_TO_HANDLE", 19);
        assert_eq!(refusal.to_string(), "virtio_gpu: PRIME_FD_TO_HANDLE: ENODEV (No such device)");
        let refusal = Refusal::because("llvmpipe", "import", "a memfd is not a dma-buf");
        assert_eq!(refusal.to_string(), "llvmpipe: import: a memfd is not a dma-buf");
    }

    #[test]
    fn each_buffer_is_imported_once_and_forgotten_when_it_is_gone() {
        let mut cache = ImportCache::default();
        let (one, two) = (buffer(), buffer());
        for _ in 0..3 {
            assert_eq!(cache.get_or_import(&one, |_| Ok(1)), Ok(&1));
        }
        assert_eq!(cache.imports(), 1);
        drop(one);
        assert_eq!(cache.get_or_import(&two, |_| Ok(2)), Ok(&2));
        assert_eq!(cache.entries.len(), 1);
    }

    #[test]
    fn a_refusal_is_remembered() {
        let mut cache = ImportCache::<()>::default();
        let buffer = buffer();
        let refusal = Refusal::errno("test", "step", 22);
        assert_eq!(cache.get(&buffer), None);
        assert!(cache.get_or_import(&buffer, |_| Err(refusal.clone())).is_err());
        assert_eq!(cache.get_or_import(&buffer, |_| Ok(())), Err(refusal.clone()));
        assert_eq!(cache.get(&buffer), Some(Err(&refusal)));
        assert_eq!(cache.imports(), 0);
    }
}
