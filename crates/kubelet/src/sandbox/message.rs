//! What a sandbox's stages tell each other, one JSON object a line, over the socket that is their standard input.

use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// A line from an inner stage to the one around it, and from there to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// The new root stands; ids are to be mapped now. Not passed on.
    Ready,
    /// From outside in: ids are mapped. Not passed on.
    Go,
    /// Something was done otherwise than asked.
    Notice(String),
    /// The job's process runs.
    Started,
    /// The container has been made; the engine's name for it.
    Created(String),
    /// It ended by itself.
    Exited(i32),
    /// It ended with this exit code, and the kernel had ended processes of it for lack of memory.
    OutOfMemory(i32),
    /// A signal ended it.
    Killed(i32),
    /// It could not be started.
    Failed(String),
}

/// One end of such a socket.
pub struct Channel {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Channel {
    /// The end that is this process's standard input.
    pub fn from_stdin() -> io::Result<Channel> {
        Channel::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// The end that is `stream`.
    pub fn new(stream: UnixStream) -> io::Result<Channel> {
        Ok(Channel { reader: BufReader::new(stream.try_clone()?), writer: stream })
    }

    /// Sends one message.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
        line.push(b'\n');
        self.writer.write_all(&line)
    }

    /// Waits for one message; `None` once the other end is gone.
    pub fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&line).map(Some).map_err(io::Error::other),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(e) => Err(e),
        }
    }
}
