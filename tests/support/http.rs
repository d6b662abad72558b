//! A minimal HTTP client and server, over TCP and Unix sockets.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use super::process::PATIENCE;

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Response {
    /// Parses a whole response that has no chunks.
    pub fn parse(bytes: &[u8]) -> Response {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
        Response::from_head(head.lines()).with_body(body.to_vec())
    }

    /// Parses the lines of a head.
    fn from_head<'a>(mut lines: impl Iterator<Item = &'a str>) -> Response {
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Response { status, headers, body: String::new(), bytes: Vec::new() }
    }

    fn with_body(mut self, bytes: Vec<u8>) -> Response {
        self.body = String::from_utf8_lossy(&bytes).into_owned();
        self.bytes = bytes;
        self
    }

    /// The value of the header with this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| value.as_str())
    }
}

/// A persistent connection.
pub struct Connection(BufReader<Box<dyn Stream>>);

impl Connection {
    /// Connects to the server of `http://HOST:PORT/...` or `unix:PATH`.
    pub fn open(url: &str) -> std::io::Result<Connection> {
        let stream: Box<dyn Stream> = match url.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            None => {
                let stream = TcpStream::connect(split(url).0)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        };
        Ok(Connection(BufReader::new(stream)))
    }

    /// Sends raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Sends an HTTP/1.1 request and reads the response.
    pub fn request(&mut self, method: &str, path: &str, headers: &str) -> Response {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        self.send(request.as_bytes()).unwrap();
        self.response(method == "HEAD").unwrap()
    }

    /// Reads the first line of a response.
    pub fn head(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line)
    }

    /// Reads a response, which has no body after HEAD.
    pub fn response(&mut self, without_body: bool) -> std::io::Result<Response> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let count = self.0.read_line(&mut line)?;
            match (count, line.trim_end()) {
                (0, _) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                (_, "") => break,
                (_, line) => lines.push(line.to_owned()),
            }
        }
        let response = Response::from_head(lines.iter().map(String::as_str));
        if !without_body && response.status != 204 {
            let mut body = Vec::new();
            match response.header("content-length") {
                Some(len) => {
                    body.resize(len.parse().unwrap(), 0);
                    self.0.read_exact(&mut body)?;
                }
                None if response.header("transfer-encoding") == Some("chunked") => {
                    while self.chunk(&mut body)? > 0 {}
                }
                None => drop(self.0.read_to_end(&mut body)?),
            }
            return Ok(response.with_body(body));
        }
        Ok(response)
    }

    /// Reads one chunk; returns its length, which is 0 for the last chunk.
    pub fn chunk(&mut self, body: &mut Vec<u8>) -> std::io::Result<usize> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let len = usize::from_str_radix(line.trim_end(), 16)
            .map_err(|_| std::io::ErrorKind::UnexpectedEof)?;
        let begin = body.len();
        body.resize(begin + len, 0);
        self.0.read_exact(&mut body[begin..])?;
        let mut end = [0; 2];
        self.0.read_exact(&mut end)?;
        assert_eq!(&end, b"\r\n");
        Ok(len)
    }

    /// Whether the server closes the connection without sending another byte.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

/// Address and path of `http://HOST:PORT/PATH`.
fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap();
    let end = rest.find('/').unwrap_or(rest.len());
    (&rest[..end], if end == rest.len() { "/" } else { &rest[end..] })
}

/// Sends an HTTP/1.0 request, whose response has no chunks.
pub fn get(url: &str) -> std::io::Result<Response> {
    let mut connection = Connection::open(url)?;
    connection.send(format!("GET {} HTTP/1.0\r\nHost: test\r\n\r\n", split(url).1).as_bytes())?;
    connection.response(false)
}

/// Starts a server that responds to every request with the same bytes, on a thread that ends with the process; returns
/// its address.
pub fn serve_always(content_type: &'static str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut request = BufReader::new(stream);
            let mut line = String::new();
            while request.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let len = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len}\r\nContent-Type: {content_type}\r\n\r\n"
            );
            // OK because a client that has disconnected sends its request again.
            let _ = request.get_mut().write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

/// Scrapes `url`, which must succeed; returns the body.
pub fn scrape(url: &str) -> String {
    let response = get(url).unwrap();
    assert_eq!(response.status, 200, "{}", response.body);
    response.body
}

/// The sum of the samples with this name, over all label sets.
pub fn sum_of(exposition: &str, name: &str) -> f64 {
    let samples = exposition.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter(|rest| rest.starts_with([' ', '{']));
    samples.map(|rest| rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}
