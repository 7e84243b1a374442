//! The ISP's thread, which does what it is told with the ISP that it made.
//!
//! An EGL context belongs to the thread that made it. So the ISP is made on a thread of its own,
//! and planning, importing and streaming are brought there as work to do.

use std::fmt;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use vcam_isp_gpu::Isp;

use super::error::{StageError, StartError};

/// The thread's name, as errors and debuggers show it.
const NAME: &str = "isp";

/// Work to be done with the ISP.
type Work = Box<dyn FnOnce(&mut (dyn Isp + 'static)) + Send>;

/// An ISP, on a thread of its own.
///
/// Dropping it waits for the thread's end, because EGL must be torn down before the process ends;
/// whatever it is doing then has to come to an end by itself.
pub(crate) struct IspThread {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// The answer to work that was handed over.
#[derive(Debug)]
pub(crate) struct Answer<T>(Receiver<T>);

impl IspThread {
    /// Starts the thread and waits until the ISP is made; returns what `make` returned along with
    /// it.
    pub(crate) fn start<T: Send + 'static>(
        make: impl FnOnce() -> Result<(Box<dyn Isp>, T), StartError> + Send + 'static,
    ) -> Result<(Self, T), StartError> {
        let (work, todo) = bounded::<Work>(1);
        let (made, answer) = bounded(1);
        let run = move || {
            let mut isp = match make() {
                Ok((isp, said)) => {
                    let _ = made.send(Ok(said));
                    isp
                }
                Err(error) => {
                    let _ = made.send(Err(error));
                    return;
                }
            };
            todo.into_iter().for_each(|work| work(&mut *isp));
        };
        let thread = spawn(NAME, run)?;
        let mut this = Self { work: Some(work), thread: Some(thread) };
        match answer.recv() {
            Ok(said) => Ok((this, said?)),
            Err(_) => Err(this.end().into()),
        }
    }

    /// Has something done, and waits for it.
    pub(crate) fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut (dyn Isp + 'static)) -> T + Send + 'static,
    ) -> Result<T, StageError> {
        let answer = self.begin(work);
        self.wait(answer)
    }

    /// Has something done, and does not wait.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut (dyn Isp + 'static)) -> T + Send + 'static,
    ) -> Answer<T> {
        let (done, answer) = bounded(1);
        let work: Work = Box::new(move |isp| {
            // If the receiver is gone, the result is not needed.
            let _ = done.send(work(isp));
        });
        // If the thread is gone, the answer never comes, and `wait` says why.
        let _ = self.work.as_ref().map(|todo| todo.send(work));
        Answer(answer)
    }

    /// Waits for the answer; that it never comes means that the thread panicked.
    pub(crate) fn wait<T>(&mut self, Answer(answer): Answer<T>) -> Result<T, StageError> {
        answer.recv().map_err(|_| self.end())
    }

    /// Joins a thread that gave no answer.
    fn end(&mut self) -> StageError {
        self.work = None;
        let gone = || StageError::Panic { stage: NAME.into(), message: "it is gone".into() };
        match self.thread.take().map(|thread| joined(NAME, thread)) {
            Some(Err(panic)) => panic,
            _ => gone(),
        }
    }
}

impl fmt::Debug for IspThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IspThread").finish_non_exhaustive()
    }
}

impl Drop for IspThread {
    fn drop(&mut self) {
        self.work = None;
        if let Some(Err(error)) = self.thread.take().map(|thread| joined(NAME, thread)) {
            tracing::error!("{error}");
        }
    }
}

/// Starts a named thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| StartError::Thread(name, source))
}

/// Waits for a thread's end; its panic becomes an error that names the stage.
pub(crate) fn joined<T>(stage: &str, thread: JoinHandle<T>) -> Result<T, StageError> {
    thread.join().map_err(|payload| StageError::panic(stage, &*payload))
}

#[cfg(test)]
mod tests {
    use vcam_isp_gpu::CpuIsp;

    use super::*;

    fn thread() -> IspThread {
        IspThread::start(|| Ok((Box::new(CpuIsp::new()) as Box<dyn Isp>, ()))).unwrap().0
    }

    #[test]
    fn work_is_done_in_its_order() {
        let mut thread = thread();
        let first = thread.begin(|isp| isp.name());
        assert_eq!(thread.call(|_| 2).unwrap(), 2);
        assert_eq!(thread.wait(first).unwrap(), "cpu");
    }

    #[test]
    fn a_panic_is_told_to_whoever_waits_and_to_those_after() {
        let mut thread = thread();
        let error = thread.call(|_| -> () { panic!("out of magic smoke") }).unwrap_err();
        assert_eq!(error.to_string(), "isp stopped: out of magic smoke");
        assert!(matches!(thread.call(|_| ()), Err(StageError::Panic { .. })));
        let made = IspThread::start(|| -> Result<(Box<dyn Isp>, ()), _> { panic!("no ISP") });
        assert!(matches!(made, Err(StartError::Stage(StageError::Panic { .. }))));
    }
}
