//! A small HTTP server over a folder, on the loopback interface, that answers as badly as it is told to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// How a request is answered, instead of properly.
#[derive(Clone, Copy)]
pub enum Answer {
    /// The connection is closed after so many bytes of the body.
    CutAfter(usize),
    /// The whole file comes, whatever range was asked for.
    IgnoreRange,
    /// This status and nothing else.
    Status(&'static str),
}

/// A running server; its threads end with the test process.
pub struct Server {
    port: u16,
    ranges: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    /// Serves the files of `folder`. The first requests get `answers`, in order; later ones are answered properly.
    pub fn start(folder: PathBuf, answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ranges);
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, seen, answers) = (folder.clone(), Arc::clone(&seen), Arc::clone(&answers));
                std::thread::spawn(move || {
                    let (path, from) = read_request(&stream);
                    seen.lock().unwrap().push(from);
                    let answer = answers.lock().unwrap().next();
                    // A client that hangs up is no failure of the server.
                    let _ = respond(stream, &folder.join(path.trim_matches('/')), from, answer);
                });
            }
        });
        Server { port, ranges }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Where each request so far wanted to start, in order of arrival.
    pub fn ranges(&self) -> Vec<Option<usize>> {
        self.ranges.lock().unwrap().clone()
    }

    /// A port on which nobody listens.
    pub fn closed_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }
}

fn read_request(stream: &TcpStream) -> (String, Option<usize>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)).unwrap_or_default();
    let mut from = None;
    for line in lines {
        let line = line.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.split('-').next().and_then(|start| start.parse().ok());
        }
    }
    (path, from)
}

fn respond(
    mut stream: TcpStream,
    path: &std::path::Path,
    from: Option<usize>,
    answer: Option<Answer>,
) -> std::io::Result<()> {
    if let Some(Answer::Status(status)) = answer {
        return write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let path = if path.is_dir() { path.join("index.html") } else { path.to_owned() };
    let Ok(bytes) = fs::read(&path) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let from = from.filter(|_| !matches!(answer, Some(Answer::IgnoreRange)));
    let body = &bytes[from.unwrap_or(0).min(bytes.len())..];
    let kind = if path.extension().is_some_and(|end| end == "html") { "text/html" } else { "application/octet-stream" };
    match from {
        Some(from) => write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n",
            bytes.len() - 1,
            bytes.len()
        )?,
        None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
    }
    write!(stream, "Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    let end = if let Some(Answer::CutAfter(count)) = answer { count.min(body.len()) } else { body.len() };
    stream.write_all(&body[..end])?;
    stream.flush()
}
