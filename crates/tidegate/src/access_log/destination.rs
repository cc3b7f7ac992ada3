//! Where lines go: standard output, standard error or a file that can be rotated.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use tidegate_gateway::config::plan::Output;

/// An open destination. It never gives up: a write that fails loses its lines, and the next one is tried again.
pub(super) struct Destination {
    output: Option<Output>,
    writer: Box<dyn Write + Send>,
    /// The last write ended inside a line.
    torn: bool,
    failing: bool,
}

impl Destination {
    pub(super) fn open(output: &Output) -> io::Result<Self> {
        Ok(Self { output: Some(output.clone()), ..Self::writing_to(open(output)?) })
    }

    pub(super) fn writing_to(writer: Box<dyn Write + Send>) -> Self {
        Self { output: None, writer, torn: false, failing: false }
    }

    /// Opens a file anew; when that fails, the one that is open goes on being used.
    pub(super) fn reopen(&mut self) {
        let Some(output @ Output::File(path)) = &self.output else { return };
        match open(output) {
            Ok(writer) => {
                self.writer = writer;
                self.torn = false;
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "access log not reopened"),
        }
    }

    /// Writes whole lines. Returns how many bytes at the end were not written, 0 when all went well.
    pub(super) fn write(&mut self, lines: &[u8]) -> usize {
        let (unwritten, result) = self.write_all(lines);
        if lines.len() > unwritten {
            self.torn = !lines[..lines.len() - unwritten].ends_with(b"\n");
        }
        self.report(&result);
        unwritten
    }

    /// Like [`Write::write_all`], but says how far it got.
    fn write_all(&mut self, mut lines: &[u8]) -> (usize, io::Result<()>) {
        if self.torn && !lines.is_empty() {
            // The next line must not go on where the broken one stopped.
            if let Err(error) = self.writer.write_all(b"\n") {
                return (lines.len(), Err(error));
            }
            self.torn = false;
        }
        while !lines.is_empty() {
            match self.writer.write(lines) {
                Ok(0) => return (lines.len(), Err(ErrorKind::WriteZero.into())),
                Ok(count) => lines = &lines[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (lines.len(), Err(error)),
            }
        }
        (0, self.writer.flush())
    }

    /// One message when it begins to fail and one when it is over, however many lines are lost in between.
    fn report(&mut self, result: &io::Result<()>) {
        match result {
            Err(error) if !self.failing => tracing::error!(%error, "access log cannot be written, records are lost"),
            Ok(()) if self.failing => tracing::info!("access log can be written again"),
            _ => {}
        }
        self.failing = result.is_err();
    }
}

/// Standard output and error as plain files: no buffer beside ours, and no lock that a print elsewhere could hold.
fn open(output: &Output) -> io::Result<Box<dyn Write + Send>> {
    let file = match output {
        Output::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        Output::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
        // Readable by its group and nobody else: the log has addresses and paths of clients.
        Output::File(path) => File::options().append(true).create(true).mode(0o640).open(path)?,
    };
    Ok(Box::new(file))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Writes what it is told to: at most this many bytes for each call, or the error.
    #[derive(Clone, Default)]
    struct Script {
        steps: Arc<Mutex<VecDeque<io::Result<usize>>>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let step = self.steps.lock().expect("no panic").pop_front().unwrap_or(Ok(usize::MAX))?;
            let count = step.min(bytes.len());
            self.written.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted<const N: usize>(steps: [io::Result<usize>; N]) -> (Destination, Script) {
        let script = Script { steps: Arc::new(Mutex::new(steps.into())), ..Script::default() };
        (Destination::writing_to(Box::new(script.clone())), script)
    }

    fn full() -> io::Result<usize> {
        Err(ErrorKind::StorageFull.into())
    }

    #[test]
    fn short_and_interrupted_writes_are_completed() {
        let (mut destination, script) = scripted([Ok(2), Err(ErrorKind::Interrupted.into()), Ok(1)]);
        assert_eq!(destination.write(b"one\ntwo\n"), 0);
        assert_eq!(*script.written.lock().expect("no panic"), b"one\ntwo\n");
    }

    #[test]
    fn a_full_disk_loses_lines_and_later_ones_are_whole() {
        let (mut destination, script) = scripted([Ok(5), full(), full(), Ok(usize::MAX)]);
        assert_eq!(destination.write(b"one\ntwo\n"), 3);
        assert!(destination.failing);
        assert_eq!(destination.write(b"three\n"), 6);
        assert_eq!(destination.write(b"four\n"), 0);
        assert!(!destination.failing);
        assert_eq!(*script.written.lock().expect("no panic"), b"one\nt\nfour\n");
    }

    #[test]
    fn a_write_that_fails_between_lines_tears_nothing() {
        let (mut destination, script) = scripted([Ok(4), full()]);
        assert_eq!(destination.write(b"one\ntwo\n"), 4);
        assert_eq!(destination.write(b"three\n"), 0);
        assert_eq!(*script.written.lock().expect("no panic"), b"one\nthree\n");
    }

    #[test]
    fn a_writer_that_takes_nothing_is_not_tried_for_ever() {
        let (mut destination, _script) = scripted([Ok(0)]);
        assert_eq!(destination.write(b"one\n"), 4);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(Destination::open(&Output::File("/nonexistent/folder/access.log".into())).is_err());
    }
}
