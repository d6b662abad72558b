//! An HTTP/1.1 client with one persistent connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// A slow client reads so many bytes at once, pauses before each read, and sets the size of its receive buffer.
const SLOW_PIECE: usize = 16 * 1024;
const SLOW_PAUSE: Duration = Duration::from_millis(10);
static SLOW_BUFFER: libc::c_int = 16 * 1024;

pub struct Connection {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
    is_slow: bool,
}

/// How a response states the length of its body.
#[derive(Clone, Copy, Debug)]
pub enum BodyLen {
    Known(usize),
    Chunked,
}

impl Connection {
    pub fn open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), body: Vec::new(), is_slow: false })
    }

    /// A connection that reads slowly, with a small receive buffer.
    pub fn open_slow(address: &str) -> io::Result<Connection> {
        let mut connection = Connection::open(address)?;
        connection.is_slow = true;
        // SAFETY: the pointer is to a number of the length that is given.
        let result = unsafe {
            libc::setsockopt(
                connection.stream.get_ref().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw const SLOW_BUFFER).cast(),
                size_of_val(&SLOW_BUFFER) as libc::socklen_t,
            )
        };
        if result == 0 { Ok(connection) } else { Err(io::Error::last_os_error()) }
    }

    /// Requests the metrics with these header lines; returns the body as it was sent.
    pub fn get(&mut self, headers: &str) -> io::Result<&[u8]> {
        let len = self.request(headers)?;
        self.read(len)
    }

    /// Sends a request and reads the head of the response.
    pub fn request(&mut self, headers: &str) -> io::Result<BodyLen> {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        if status.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(format!("the response is {status}")));
        }
        let mut len = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("transfer-encoding", "chunked")) => len = Some(BodyLen::Chunked),
                Some(("content-length", value)) => {
                    len = Some(BodyLen::Known(value.parse().map_err(io::Error::other)?));
                }
                Some(_) => {}
                None => break,
            }
        }
        len.ok_or_else(|| io::Error::other("the response states no length"))
    }

    /// Reads the body.
    pub fn read(&mut self, len: BodyLen) -> io::Result<&[u8]> {
        self.body.clear();
        match len {
            BodyLen::Known(len) => self.read_body(len)?,
            BodyLen::Chunked => self.read_chunks()?,
        }
        Ok(&self.body)
    }

    fn read_chunks(&mut self) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let len = usize::from_str_radix(digits, 16)
                .map_err(|_| io::Error::other(format!("`{line}` is not a chunk length")))?;
            if len == 0 {
                break;
            }
            self.read_body(len)?;
            self.line()?;
        }
        while !self.line()?.is_empty() {}
        Ok(())
    }

    /// Appends `len` bytes to the body.
    fn read_body(&mut self, len: usize) -> io::Result<()> {
        let mut at = self.body.len();
        let end = at + len;
        self.body.resize(end, 0);
        while at < end {
            let next = if self.is_slow { end.min(at + SLOW_PIECE) } else { end };
            if self.is_slow {
                thread::sleep(SLOW_PAUSE);
            }
            self.stream.read_exact(&mut self.body[at..next])?;
            at = next;
        }
        Ok(())
    }

    /// Reads a line, without its line ending.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}
