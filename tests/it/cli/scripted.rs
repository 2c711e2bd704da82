//! An admin API that answers what a test says, to see what commands make of it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// What was asked: method and path with its query, the token, and the body.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) token: Option<String>,
    pub(super) body: String,
}

/// One that answers connections one after another, each with the next answer; the last one over and over.
pub(super) struct Scripted {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    /// Starts one with these answers: status and body.
    pub(super) fn start(answers: Vec<(u16, Value)>) -> Self {
        Self::raw(
            answers
                .into_iter()
                .map(|(status, body)| {
                    let body = body.to_string();
                    let length = body.len();
                    format!(
                        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    )
                })
                .collect(),
        )
    }

    /// Starts one with these answers, byte for byte.
    pub(super) fn raw(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let mut answers: VecDeque<String> = answers.into();
        // It ends with the process of the test.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if let Some(question) = read(&mut stream) {
                    heard.lock().unwrap().push(question);
                }
                let last = answers.len() == 1;
                let answer = answers.pop_front().unwrap();
                if last {
                    answers.push_back(answer.clone());
                }
                // The command may be gone.
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { url, asked }
    }

    /// What was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_owned())
            };
            let length = header("content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                let line = head.lines().next().unwrap();
                return Some(Asked {
                    line: line.trim_end_matches(" HTTP/1.1").to_owned(),
                    token: header("authorization"),
                    body: body.to_owned(),
                });
            }
        }
        match stream.read(&mut buffer).unwrap_or(0) {
            0 => return None,
            count => bytes.extend_from_slice(buffer.get(..count).unwrap()),
        }
    }
}
