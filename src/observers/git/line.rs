//! A line to a server that stays open between two looks: the next question needs no new handshake.
//!
//! Over HTTP the second version of git's protocol keeps no state: what a server can do was learned with the first
//! handshake, and each look after it is `ls-refs` alone, half of the requests and of the bytes. Only tips are
//! asked for here; whatever is unusual is looked at in full by `mirror`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gix::bstr::BString;
use gix::progress::Discard;
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::transport::client::blocking_io::http::Transport;
use gix::protocol::transport::client::{AuthenticationRequired, Capabilities};
use gix::protocol::transport::{Protocol, Service};
use gix::protocol::{LsRefsCommand, handshake};

use super::Address;
use super::http::Client;

/// A server may have become another one. The handshake that tells costs one request.
const GOOD_FOR: Duration = Duration::from_secs(3600);

/// See the file's front line.
pub struct Line {
    transport: Transport<Client>,
    capabilities: Capabilities,
    opened: Instant,
}

impl Line {
    /// Introduces us to a server. `None` where it does not speak the second version.
    pub fn open(address: &Address) -> gix::Result<Option<Self>> {
        let Some(mut transport) = address.http().map_err(gix::Error::from_error)? else { return Ok(None) };
        let refuse = |_| Err(gix::Error::from_error(AuthenticationRequired::default()));
        let met = handshake(&mut transport, Service::UploadPack, refuse, Vec::new(), &mut Discard)?;
        Ok((met.server_protocol_version == Protocol::V2).then_some(Self {
            transport,
            capabilities: met.capabilities,
            opened: Instant::now(),
        }))
    }

    /// Whether the handshake is not too long ago.
    pub fn is_good(&self) -> bool {
        self.opened.elapsed() < GOOD_FOR
    }

    /// The references that begin like these branches.
    pub fn ask(&mut self, branches: &[Arc<str>]) -> gix::Result<Vec<Ref>> {
        let mut prefixes = RefPrefixes::new();
        prefixes.extend(branches.iter().map(|branch| BString::from(format!("refs/heads/{branch}"))));
        let name = concat!("knotmeter/", env!("CARGO_PKG_VERSION"));
        let agent = ("agent", Some(gix::protocol::agent(name)));
        let command = LsRefsCommand::new(Some(prefixes), &self.capabilities, agent);
        command.invoke_blocking(&mut self.transport, &mut Discard, false)
    }
}
