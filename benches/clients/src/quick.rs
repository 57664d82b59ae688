//! A server with one reply, sent in one piece: it costs so little that the client's processor is the one that is full.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The end of a chunked body.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// Serves at the address that it returns the bytes with which the server at `authority` answers a chat.
pub async fn start(authority: &str) -> io::Result<String> {
    let reply: &'static [u8] = recorded(authority).await?.leak();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            tokio::spawn(serve(socket, reply));
        }
    });
    Ok(url)
}

async fn recorded(authority: &str) -> io::Result<Vec<u8>> {
    let body = r#"{"model": "m", "stream": true, "stream_options": {"include_usage": true}}"#;
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut socket = TcpStream::connect(authority).await?;
    socket.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut reply = Vec::new();
    while !reply.ends_with(END) {
        if socket.read_buf(&mut reply).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(reply)
}

/// One request after another until the client closes.
async fn serve(mut socket: TcpStream, reply: &[u8]) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let whole = loop {
            if let Some(length) = request_length(&buffer)
                && buffer.len() >= length
            {
                break length;
            }
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        buffer.drain(..whole);
        socket.write_all(reply).await?;
    }
}

/// Bytes of the request at the start of `buffer`, once its head is there.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(end + length.unwrap_or(0))
}
