//! An HTTP server that answers word for word what a test tells it to, also what no server should say.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cairn::model::digest::Sha256;
use cairn::model::remote::{RemoteKind, RemoteSettings};

use crate::wait;

/// A request as it came: its first line, and its headers in small letters.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub headers: Vec<String>,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers.iter().find_map(|line| line.strip_prefix(&*prefix))
    }
}

/// Answers each connection with what a function makes of its request and of the request's number, and closes it.
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub fn start<A: Into<Answer>>(
        answer: impl Fn(&Asked, usize) -> A + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let answer = Arc::new(answer);
        // It ends with the test's process.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || {
                    serve(connection.unwrap(), &seen, |asked, number| answer(asked, number).into())
                });
            }
        });
        Self { address, asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn settings(&self) -> RemoteSettings {
        RemoteSettings::new(RemoteKind::Sums, self.url("/").parse().unwrap())
    }

    /// What came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// What comes for a request.
pub enum Answer {
    /// These bytes, and the end.
    Ends(Vec<u8>),
    /// These bytes, and no more until the client has gone.
    Sticks(Vec<u8>),
    /// These bytes, and then as many others one by one, with a pause before each.
    Trickles(Vec<u8>, usize, Duration),
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Ends(bytes)
    }
}

fn serve(
    mut connection: TcpStream,
    seen: &Mutex<Vec<Asked>>,
    answer: impl Fn(&Asked, usize) -> Answer,
) {
    let Some(request) = read(&connection) else { return };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len()
    };
    // The client may have had enough of it before the end.
    match answer(&request, number) {
        Answer::Ends(bytes) => drop(connection.write_all(&bytes)),
        Answer::Sticks(bytes) => {
            connection.write_all(&bytes).ok();
            connection.read_to_end(&mut Vec::new()).ok();
        }
        Answer::Trickles(bytes, more, pause) => {
            connection.write_all(&bytes).ok();
            for _ in 0..more {
                let began = Instant::now();
                wait::until("the pause is over", || began.elapsed() >= pause);
                if connection.write_all(b".").is_err() {
                    return;
                }
            }
        }
    }
}

/// A path without the escapes of a URL.
fn decode(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

fn read(connection: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(connection).lines();
    let line = lines.next()?.ok()?;
    let headers = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    let headers = headers
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
            None => line,
        })
        .collect();
    Some(Asked { line, headers })
}

/// An answer: status, headers, body, in which nothing is added or checked.
pub fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        answer.extend(header.as_bytes());
        answer.extend(b"\r\n");
    }
    answer.extend(b"\r\n");
    answer.extend(body);
    answer
}

/// A right answer with a body.
pub fn whole(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &[&format!("Content-Length: {}", body.len())], body)
}

/// A site in memory: paths with their contents, sent whole or from where a Range begins, with an ETag.
#[derive(Clone, Default)]
pub struct Site(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Site {
    /// A site with these files, and a checksum list of them.
    pub fn of(files: &[(&str, &[u8])]) -> Self {
        let site = Self::default();
        site.set(files);
        site
    }

    /// Replaces all files, and the list of them.
    pub fn set(&self, files: &[(&str, &[u8])]) {
        let mut all: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(path, content)| (format!("/{path}"), content.to_vec())).collect();
        let lines: String = files
            .iter()
            .map(|(path, content)| format!("{}  {path}\n", Sha256::of(content)))
            .collect();
        all.insert("/SHA256SUMS".to_owned(), lines.into_bytes());
        *self.0.lock().unwrap() = all;
    }

    /// The line of a file in the checksum list.
    pub fn line(&self, path: &str) -> Vec<u8> {
        let site = self.0.lock().unwrap();
        format!("{}  {path}\n", Sha256::of(&site[&format!("/{path}")])).into_bytes()
    }

    /// Replaces all files, and has a manifest of them.
    pub fn set_manifest(&self, files: &[(&str, &[u8])]) {
        self.set(files);
        let line = |(path, content): &(&str, &[u8])| {
            format!("{path},{},{}\n", Sha256::of(content), content.len())
        };
        self.put("PULP_MANIFEST", files.iter().map(line).collect::<String>().as_bytes());
    }

    /// Puts or replaces one file and nothing else.
    pub fn put(&self, path: &str, content: &[u8]) {
        self.0.lock().unwrap().insert(format!("/{path}"), content.to_vec());
    }

    /// Takes one file away and nothing else.
    pub fn take(&self, path: &str) {
        self.0.lock().unwrap().remove(&format!("/{path}")).unwrap();
    }

    /// What a well-behaved server answers.
    pub fn answer(&self, asked: &Asked) -> Vec<u8> {
        let site = self.0.lock().unwrap();
        let Some(content) = site.get(&decode(asked.line.split(' ').nth(1).unwrap())) else {
            return answer("404 Not Found", &["Content-Length: 0"], b"");
        };
        let tag = format!("\"{}\"", Sha256::of(content));
        let etag = format!("ETag: {tag}");
        if asked.header("if-none-match") == Some(&tag) {
            return answer("304 Not Modified", &[&etag], b"");
        }
        let from =
            asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let is_same = asked.header("if-range").is_none_or(|seen| seen == tag);
        match from.filter(|_| is_same).map(|from| from.parse::<usize>().unwrap()) {
            None => {
                answer("200 OK", &[&etag, &format!("Content-Length: {}", content.len())], content)
            }
            Some(from) if from >= content.len() => {
                answer("416 Range Not Satisfiable", &["Content-Length: 0"], b"")
            }
            Some(from) => {
                let rest = &content[from..];
                let range =
                    format!("Content-Range: bytes {from}-{}/{}", content.len() - 1, content.len());
                let length = format!("Content-Length: {}", rest.len());
                answer("206 Partial Content", &[&etag, &range, &length], rest)
            }
        }
    }

    /// Serves it.
    pub fn serve(&self) -> Server {
        let site = self.clone();
        Server::start(move |asked, _| site.answer(asked))
    }
}
