//! Output to two places: our own standard output and the process log. Neither may stop the job: when one fails
//! the other goes on, and says what happened.

use crate::log;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Where everything goes that the command or we have to say.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<Both>>);

struct Both {
    stdout: Option<Box<dyn Write + Send>>,
    log: Option<Box<dyn Write + Send>>,
    /// Bytes that the log could not take.
    lost: u64,
}

impl Output {
    pub(crate) fn create(process_log: &Path) -> io::Result<Self> {
        // Without waiting: another container could have put a pipe there that nobody reads.
        let mut options = File::options();
        options.write(true).create(true).truncate(true).custom_flags(nix::libc::O_NONBLOCK);
        Ok(Output::new(Some(Box::new(io::stdout())), Some(Box::new(options.open(process_log)?))))
    }

    /// Without a log: what is said goes to standard output alone.
    pub(crate) fn stdout_only() -> Self {
        Output::new(Some(Box::new(io::stdout())), None)
    }

    fn new(stdout: Option<Box<dyn Write + Send>>, log: Option<Box<dyn Write + Send>>) -> Self {
        Output(Arc::new(Mutex::new(Both { stdout, log, lost: 0 })))
    }

    /// One line of our own.
    pub(crate) fn say(&self, level: &str, message: &str) {
        self.write(log::line(level, message).as_bytes());
    }

    /// The line by which people and tools find out in a log why a run failed; upstream's word for word.
    pub(crate) fn say_why(&self, error: &str) {
        self.write(log::failure("Error executing test process", error).as_bytes());
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        self.both().write(bytes);
    }

    /// Copies a pipe to its end.
    pub(crate) fn copy(&self, mut pipe: impl Read) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => self.write(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    return self.say("error", &format!("cannot read the command's output any more: {e}"));
                }
            }
        }
    }

    /// Says what was lost, if anything was.
    pub(crate) fn finish(&self) {
        let mut both = self.both();
        if both.lost > 0 {
            let message = format!(
                "{} bytes of output are missing in the process log: it could not be written",
                both.lost
            );
            both.write(log::line("error", &message).as_bytes());
        }
    }

    fn both(&self) -> std::sync::MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Both {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(stdout) = &mut self.stdout
            && let Err(e) = stdout.write_all(bytes).and_then(|()| stdout.flush())
        {
            // Nobody reads it any more (the container runtime went away): the log is what counts.
            self.stdout = None;
            self.write_log(
                log::line("warning", &format!("standard output cannot be written any more: {e}")).as_bytes(),
            );
        }
        self.write_log(bytes);
    }

    fn write_log(&mut self, bytes: &[u8]) {
        let Some(log) = &mut self.log else { return };
        let mut rest = bytes;
        while !rest.is_empty() {
            let error = match log.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(n) => {
                    rest = &rest[n..];
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e,
            };
            // A full disk may have room again later, so the log stays open; said once.
            if self.lost == 0 {
                let message = format!(
                    "the process log cannot be written: {error}; output goes to standard output only"
                );
                if let Some(stdout) = &mut self.stdout {
                    let _ = stdout.write_all(log::line("error", &message).as_bytes());
                }
            }
            self.lost += rest.len() as u64;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails until told otherwise.
    struct Disk {
        taken: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<usize>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let n = bytes.len().min(*room);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= n;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn disk(room: usize) -> (Disk, Arc<Mutex<Vec<u8>>>, Arc<Mutex<usize>>) {
        let (taken, room) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(room)));
        (Disk { taken: taken.clone(), room: room.clone() }, taken, room)
    }

    #[test]
    fn a_full_disk_loses_output_but_says_so_in_both_places() {
        let (stdout, shown, _) = disk(usize::MAX);
        let (log, kept, room) = disk(5);
        let output = Output::new(Some(Box::new(stdout)), Some(Box::new(log)));
        output.write(b"1234567\n");
        *room.lock().unwrap() = 10_000;
        output.write(b"later\n");
        output.finish();
        let shown = String::from_utf8(shown.lock().unwrap().clone()).unwrap();
        assert!(shown.contains("1234567\n") && shown.contains("process log cannot be written"), "{shown}");
        let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        assert!(kept.starts_with("12345later\n") && kept.contains("3 bytes of output are missing"), "{kept}");
    }

    #[test]
    fn a_closed_standard_output_leaves_the_log_whole() {
        let (stdout, _, _) = disk(0);
        let (log, kept, _) = disk(usize::MAX);
        let output = Output::new(Some(Box::new(stdout)), Some(Box::new(log)));
        output.copy(&b"one\ntwo\n"[..]);
        let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        assert!(kept.ends_with("one\ntwo\n") && kept.contains("standard output cannot be written"), "{kept}");
    }
}
