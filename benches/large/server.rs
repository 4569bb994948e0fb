//! A small API server on loopback: lists, streaming lists and watches of bytes that were made before. One thread
//! for each connection, no library between the bytes and the socket, so that it costs as little as it can.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::objects::{Size, Template, VERSION};
use super::storm::Storm;

/// Objects of a page: as many as everybody asks for.
const PAGE_ITEMS: usize = 500;
/// Events that are written at once: what the server has ready goes out together.
const CHUNK_EVENTS: usize = 16;

/// How a list is served.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Streaming lists are refused, as by an older server.
    Paged,
    Streaming,
}

/// Everything that is served.
pub struct World {
    lists: Lists,
    pods: Kind,
    replica_sets: Kind,
    deployments: Kind,
    /// Of Flux, which is not there where there are none.
    engines: Vec<(&'static str, Kind)>,
    /// What follows the pods' streaming list.
    storm: Option<Storm>,
}

/// The bytes of one kind, in the form in which they are asked for.
struct Kind {
    name: &'static str,
    api_version: &'static str,
    bodies: Vec<Vec<u8>>,
}

impl World {
    pub fn new(size: Size, lists: Lists, storm: Option<Storm>) -> Self {
        let kind = |template: Template, count| match lists {
            Lists::Paged => Kind::pages(&template, count),
            Lists::Streaming => Kind::events(&template, count),
        };
        Self {
            lists,
            pods: kind(Template::pod(), size.pods),
            replica_sets: kind(Template::replica_set(), size.replica_sets),
            deployments: kind(Template::deployment(), size.deployments),
            engines: match size.kustomizations {
                0 => Vec::new(),
                count => vec![
                    ("kustomizations", kind(Template::kustomization(), count)),
                    ("gitrepositories", kind(Template::git_repository(), count)),
                ],
            },
            storm,
        }
    }

    pub fn bytes(&self) -> usize {
        let kinds = [&self.pods, &self.replica_sets, &self.deployments].into_iter();
        let kinds = kinds.chain(self.engines.iter().map(|(_, kind)| kind));
        kinds.flat_map(|kind| &kind.bodies).map(Vec::len).sum()
    }

    /// Serves until the program ends.
    pub fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("it is bound");
        let world = Arc::new(self);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let world = world.clone();
                // A client that goes away is done.
                thread::spawn(move || drop(world.answer_all(connection)));
            }
        });
        address
    }

    fn answer_all(&self, mut to: TcpStream) -> io::Result<()> {
        to.set_nodelay(true)?;
        let mut from = BufReader::new(to.try_clone()?);
        let (mut line, mut target) = (String::new(), String::new());
        loop {
            line.clear();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.strip_prefix("GET ") {
                Some(asked) => target = asked.split(' ').next().unwrap_or_default().to_owned(),
                None if line == "\r\n" => self.answer(&target, &mut from, &mut to)?,
                None => {}
            }
        }
    }

    fn answer(&self, target: &str, from: &mut BufReader<TcpStream>, to: &mut TcpStream) -> io::Result<()> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path.ends_with("/kube-system") {
            return whole(to, "200 OK", br#"{"metadata":{"uid":"cluster-uid"}}"#);
        }
        if let Some(found) = self.discovered(path) {
            return whole(to, "200 OK", found.as_bytes());
        }
        let engine = self.engines.iter().find(|(plural, _)| path.rsplit('/').next() == Some(plural));
        let kind = match path.rsplit('/').next() {
            Some(_) if engine.is_some() => engine.map_or(&self.pods, |(_, kind)| kind),
            Some("pods") => &self.pods,
            Some("replicasets") => &self.replica_sets,
            Some("deployments") => &self.deployments,
            _ => &Kind { name: "Other", api_version: "v1", bodies: Vec::new() },
        };
        match (query.contains("watch="), query.contains("sendInitialEvents=true"), self.lists) {
            (false, _, _) => {
                let token = query.split("continue=p").nth(1).and_then(|rest| rest.split('&').next());
                let page = token.map_or(0, |page| page.parse().unwrap_or_default());
                let empty = kind.page(0, 1, "");
                whole(to, "200 OK", kind.bodies.get(page).unwrap_or(&empty))
            }
            (true, true, Lists::Paged) => {
                let refusal = br#"{"kind":"Status","code":422,"message":"sendInitialEvents is forbidden"}"#;
                whole(to, "422 Unprocessable Entity", refusal)
            }
            (true, initial, _) => {
                to.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                if initial {
                    kind.bodies.iter().try_for_each(|body| chunk(to, body))?;
                    chunk(to, kind.bookmark().as_bytes())?;
                }
                if let Some(storm) = self.storm.as_ref().filter(|_| initial && kind.name == "Pod") {
                    storm.blow(to)?;
                }
                // Silence until the client goes.
                from.fill_buf()?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

impl World {
    /// What is said of a group, or of its only version.
    fn discovered(&self, path: &str) -> Option<String> {
        let mut words = path.strip_prefix("/apis/")?.split('/');
        let (group, version, more) = (words.next()?, words.next(), words.next());
        let of_it = |(_, kind): &&(_, Kind)| kind.api_version.starts_with(group);
        let (plural, _) = self.engines.iter().find(of_it).filter(|_| more.is_none())?;
        Some(match version {
            None => r#"{"kind":"APIGroup","versions":[{"version":"v1"}]}"#.to_owned(),
            Some(_) => format!(r#"{{"kind":"APIResourceList","resources":[{{"name":"{plural}"}}]}}"#),
        })
    }
}

impl Kind {
    fn pages(template: &Template, count: usize) -> Self {
        let mut kind = Self { name: template.kind, api_version: template.api_version, bodies: Vec::new() };
        let pages = count.div_ceil(PAGE_ITEMS).max(1);
        for page in 0..pages {
            let mut items = String::new();
            for n in page * PAGE_ITEMS..count.min((page + 1) * PAGE_ITEMS) {
                items.push_str(if items.is_empty() { "{" } else { ",{" });
                template.write(n, "0", &mut items);
            }
            kind.bodies.push(kind.page(page, pages, &items));
        }
        kind
    }

    fn events(template: &Template, count: usize) -> Self {
        let (name, api_version) = (template.kind, template.api_version);
        let numbers: Vec<usize> = (0..count).collect();
        let chunk = |numbers: &[usize]| {
            let mut lines = String::new();
            for n in numbers {
                lines.push_str(&event_start("ADDED", name, api_version));
                template.write(*n, "0", &mut lines);
                lines.push_str("}\n");
            }
            lines.into_bytes()
        };
        Self { name, api_version, bodies: numbers.chunks(CHUNK_EVENTS).map(chunk).collect() }
    }

    fn page(&self, page: usize, pages: usize, items: &str) -> Vec<u8> {
        let (name, api_version) = (self.name, self.api_version);
        let next = if page + 1 < pages { format!("p{}", page + 1) } else { String::new() };
        format!(
            r#"{{"kind":"{name}List","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{VERSION}","continue":"{next}"}},"items":[{items}]}}"#
        )
        .into_bytes()
    }

    fn bookmark(&self) -> String {
        let start = event_start("BOOKMARK", self.name, self.api_version);
        format!(
            "{start}\"metadata\":{{\"resourceVersion\":\"{VERSION}\",\"creationTimestamp\":null,\"annotations\":{{\"k8s.io/initial-events-end\":\"true\"}}}}}}}}\n"
        )
    }
}

/// An event up to what follows the kind of its object.
pub fn event_start(event: &str, kind: &str, api_version: &str) -> String {
    format!(r#"{{"type":"{event}","object":{{"kind":"{kind}","apiVersion":"{api_version}","#)
}

/// One chunk of a chunked body, in one write.
pub fn chunk(to: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(bytes.len() + 16);
    write!(framed, "{:x}\r\n", bytes.len())?;
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    to.write_all(&framed)
}

fn whole(to: &mut TcpStream, status: &str, body: &[u8]) -> io::Result<()> {
    let mut head = String::new();
    let length = body.len();
    write!(head, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
        .expect("a string grows");
    to.write_all(head.as_bytes())?;
    to.write_all(body)
}
