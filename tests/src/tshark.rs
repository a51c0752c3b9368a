//! What tshark (Wireshark's dissectors) reads in a packet capture: an opinion that owes nothing to the agent's code.
//!
//! tshark takes messages apart; which response belongs to which request follows from the protocols' rules and is put together here.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Requests of HTTP connections: method, target and status code in the order of the requests, by the client's port.
pub type Requests = BTreeMap<String, Vec<(String, String, String)>>;

/// Statements in the order in which they were sent on each connection, the connections one after the other: the text, and the error's code
/// (empty for none).
pub type Statements = Vec<(String, String)>;

/// A message of a protocol.
struct Message {
    stream: String,
    source: String,
    fields: Value,
}

impl Message {
    /// The first field of this name, at any depth.
    fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    fn text(&self, name: &str) -> String {
        self.field(name).unwrap_or_default().to_owned()
    }
}

fn find<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    match value {
        Value::Object(members) => match members.get(name) {
            Some(Value::String(text)) => Some(text),
            // The same field several times.
            Some(Value::Array(values)) => values.first()?.as_str(),
            _ => members.values().find_map(|member| find(member, name)),
        },
        Value::Array(values) => values.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

/// All messages of a protocol, which is spoken on this port.
fn messages(file: &Path, protocol: &str, port: u16) -> Result<Vec<Message>> {
    let output = Command::new("tshark")
        .args(["-n", "-o", "tcp.reassemble_out_of_order:TRUE", "-d", &format!("tcp.port=={port},{protocol}")])
        .args(["-T", "json", "--no-duplicate-keys", "-J", &format!("tcp {protocol}"), "-r"])
        .arg(file)
        .output()
        .context("tshark could not be started; `cargo xtask setup` installs it")?;
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let frames: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let mut messages = Vec::new();
    for frame in &frames {
        let Some(layers) = frame.pointer("/_source/layers") else { continue };
        let tcp = |field: &str| layers.get("tcp").and_then(|tcp| find(tcp, field)).unwrap_or_default().to_owned();
        // Other connections of the capture are recognised as well.
        if ![tcp("tcp.srcport"), tcp("tcp.dstport")].contains(&port.to_string()) {
            continue;
        }
        let found = match layers.get(protocol) {
            None => continue,
            Some(Value::Array(several)) => several.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let message =
            |fields: &Value| Message { stream: tcp("tcp.stream"), source: tcp("tcp.srcport"), fields: fields.clone() };
        messages.extend(found.iter().map(message));
    }
    Ok(messages)
}

/// The HTTP/1 requests to a port.
pub fn http(file: &Path, port: u16) -> Result<Requests> {
    let mut requests: Requests = BTreeMap::new();
    let mut waiting: HashMap<String, VecDeque<(String, usize)>> = HashMap::new();
    for message in messages(file, "http", port)? {
        let waiting = waiting.entry(message.stream.clone()).or_default();
        if let Some(method) = message.field("http.request.method") {
            let own = requests.entry(message.source.clone()).or_default();
            waiting.push_back((message.source.clone(), own.len()));
            own.push((method.to_owned(), message.text("http.request.uri"), String::new()));
        }
        // RFC 9110 §15.2: an interim response is not the answer.
        if let Some(code) = message.field("http.response.code").filter(|code| !code.starts_with('1')) {
            let (client, index) = waiting.pop_front().context("a response without a request")?;
            let request = requests.get_mut(&client).and_then(|own| own.get_mut(index));
            request.context("no such request")?.2 = code.to_owned();
        }
    }
    Ok(requests)
}

/// The status codes of the FastCGI responses of a server at a port, in the order of the requests, by the client's port. Of variables
/// tshark tells the names only. (Records: FastCGI 1.0 §8; the status: RFC 3875 §6.3.3.)
pub fn fastcgi(file: &Path, port: u16) -> Result<BTreeMap<String, Vec<String>>> {
    let mut statuses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // By connection: its client, and whether the header of the latest request's response is still to come.
    let mut clients: HashMap<String, (String, bool)> = HashMap::new();
    for record in messages(file, "fcgi", port)? {
        match record.field("fcgi.type") {
            Some("1") => {
                clients.insert(record.stream.clone(), (record.source.clone(), true));
                statuses.entry(record.source.clone()).or_default().push(String::new());
            }
            Some("6") => {
                let (client, awaited) = clients.get_mut(&record.stream).context("a response without a request")?;
                if std::mem::replace(awaited, false) {
                    let header = octets(record.field("fcgi.content.data").unwrap_or_default())?;
                    let header = String::from_utf8_lossy(&header);
                    let told = header.lines().find_map(|line| line.strip_prefix("Status: ")?.split(' ').next());
                    let status = statuses.get_mut(client).and_then(|own| own.last_mut()).context("no such request")?;
                    told.unwrap_or("200").clone_into(status);
                }
            }
            _ => {}
        }
    }
    Ok(statuses)
}

/// Bytes as tshark writes them: `0d:0a`.
fn octets(text: &str) -> Result<Vec<u8>> {
    text.split(':').map(|octet| Ok(u8::from_str_radix(octet, 16)?)).collect()
}

/// The statements that were executed by the PostgreSQL server at a port ("Message Flow" in PostgreSQL's documentation).
pub fn postgresql(file: &Path, port: u16) -> Result<Statements> {
    #[derive(Default)]
    struct Session {
        prepared: HashMap<String, String>,
        portals: HashMap<String, String>,
        /// What the server has still to answer: statements, and `None` for a Sync.
        waiting: VecDeque<Option<String>>,
        done: Statements,
    }
    let mut sessions: BTreeMap<u64, Session> = BTreeMap::new();
    for message in messages(file, "pgsql", port)? {
        let session = sessions.entry(message.stream.parse()?).or_default();
        match message.field("pgsql.type").unwrap_or_default() {
            // Each statement of a simple query is completed by itself.
            "Simple query" => {
                let statements = message.text("pgsql.query");
                session.waiting.extend(split(&statements).map(|text| Some(text.to_owned())));
                session.waiting.push_back(None);
            }
            "Parse" => {
                session.prepared.insert(message.text("pgsql.statement"), message.text("pgsql.query"));
            }
            "Bind" => {
                let text = session.prepared.get(message.field("pgsql.statement").unwrap_or_default());
                session.portals.insert(message.text("pgsql.portal"), text.cloned().unwrap_or_default());
            }
            "Execute" => {
                let text = session.portals.get(message.field("pgsql.portal").unwrap_or_default());
                session.waiting.push_back(Some(text.cloned().unwrap_or_default()));
            }
            "Sync" => session.waiting.push_back(None),
            "Command completion" => {
                let text = session.waiting.pop_front().flatten().with_context(|| {
                    format!("a completion without a statement: {:?} {:?}", message.fields, session.done)
                })?;
                session.done.push((text, String::new()));
            }
            "Error" => {
                // What comes after it up to the Sync is not executed.
                if let Some(Some(text)) = session.waiting.pop_front() {
                    session.done.push((text, message.text("pgsql.code")));
                    while session.waiting.front().is_some_and(Option::is_some) {
                        session.waiting.pop_front();
                    }
                }
            }
            // The start-up ends with one that no Sync asked for.
            "Ready for query" => {
                session.waiting.pop_front();
            }
            _ => {}
        }
    }
    Ok(sessions.into_values().flat_map(|session| session.done).collect())
}

/// The statements that were executed by the MySQL or MariaDB server at a port. A client waits for each answer ("Command
/// Phase" in MySQL's documentation), so an error belongs to the latest command.
pub fn mysql(file: &Path, port: u16) -> Result<Statements> {
    const QUERY: &str = "3";
    const PREPARE: &str = "22";
    const EXECUTE: &str = "23";
    #[derive(Default)]
    enum Latest {
        Statement,
        Prepare,
        #[default]
        Other,
    }
    #[derive(Default)]
    struct Session {
        prepared: HashMap<String, String>,
        preparing: String,
        latest: Latest,
        done: Statements,
    }
    let mut sessions: BTreeMap<u64, Session> = BTreeMap::new();
    for message in messages(file, "mysql", port)? {
        let session = sessions.entry(message.stream.parse()?).or_default();
        if let Some(command) = message.field("mysql.command") {
            let text = message.text("mysql.query");
            session.latest = match command {
                QUERY | EXECUTE => Latest::Statement,
                PREPARE => Latest::Prepare,
                _ => Latest::Other,
            };
            match command {
                QUERY => session.done.extend(split(&text).map(|text| (text.to_owned(), String::new()))),
                PREPARE => session.preparing = text,
                EXECUTE => {
                    let text = session.prepared.get(message.field("mysql.stmt_id").unwrap_or_default());
                    session.done.push((text.cloned().unwrap_or_default(), String::new()));
                }
                _ => {}
            }
        } else if let Some(code) = message.field("mysql.error_code") {
            match session.latest {
                Latest::Statement => {
                    if let Some(latest) = session.done.last_mut() {
                        code.clone_into(&mut latest.1);
                    }
                }
                // A statement that cannot be prepared was to be executed.
                Latest::Prepare => session.done.push((std::mem::take(&mut session.preparing), code.to_owned())),
                Latest::Other => {}
            }
        } else if let Some(statement) = message.field("mysql.stmt_id") {
            session.prepared.insert(statement.to_owned(), std::mem::take(&mut session.preparing));
        }
    }
    Ok(sessions.into_values().flat_map(|session| session.done).collect())
}

/// The statements of a text. Ours have no semicolon but between two of them, and in bodies between `$$`.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(if text.contains("$$") { "\0" } else { "; " })
}
