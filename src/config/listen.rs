//! The section `listen`: where the relay listens.

use serde_json::{Value as Json, json};

use crate::config::address::{ListenAddress, address, own_address, shown};
use crate::config::document::{Node, Value};
use crate::config::form::{By, Form, Optional};
use crate::config::keyed::{Keyed as _, keys};
use crate::config::overlap::is_in_the_way;
use crate::config::reader::{Context, mapping};
use crate::config::schema::forms::For;

const EXPOSED_EVENTS: &str = "other machines can reach this address: set ingest.tokens, or listen on 127.0.0.1 or a unix socket";
const EXPOSED_ADMIN: &str = "other machines can reach this address: set admin.tokens, or listen on 127.0.0.1 or a unix socket; for scrapers from outside there is listen.metrics";
/// The prefix of the names of addresses for events.
const EVENTS: &str = "listen.events";

keys! {
    /// `listen`: where the relay listens. Changes need a restart.
    #[derive(Debug, Clone, PartialEq, Eq)]
    section pub struct Listen {
        "Where events are posted: host:port, unix:/path, systemd:NAME, or a list of these. An address that other machines can reach needs ingest.tokens."
        events: Vec<ListenAddress> = vec![ListenAddress::Tcp("127.0.0.1:8780".to_owned())] => Addresses;
        "Admin API, /metrics, /healthz, /readyz: host:port or unix:/path. An address that other machines can reach needs admin.tokens."
        admin: ListenAddress = ListenAddress::Tcp("127.0.0.1:8781".to_owned()) => OWN_ADDRESS;
        "One more listener with only /metrics, /healthz, /readyz, for scrapers from outside."
        metrics: Option<ListenAddress> = None => Optional(OWN_ADDRESS);
    }
}

impl Listen {
    /// Every address with its name, such as `listen.events[0]`: those for events first.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, &ListenAddress)> {
        let events = self.events.iter().enumerate();
        let events = events.map(|(index, address)| (format!("listen.events[{index}]"), address));
        let metrics = self.metrics.iter();
        let metrics = metrics.map(|address| ("listen.metrics".to_owned(), address));
        let admin = ("listen.admin".to_owned(), &self.admin);
        events.chain([admin]).chain(metrics).collect()
    }

    /// The ports that it names, without those that the system or systemd chooses.
    pub(super) fn ports(&self) -> Vec<u16> {
        let port = |(_, address): (String, &ListenAddress)| match address {
            ListenAddress::Tcp(text) => text.rsplit_once(':')?.1.parse().ok(),
            ListenAddress::Unix(_) | ListenAddress::Systemd(_) => None,
        };
        let addresses = self.addresses().into_iter();
        addresses
            .filter_map(port)
            .filter(|port| *port != 0)
            .collect()
    }
}

/// Which listeners require a token, so that they may be reachable from other machines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guarded {
    /// `ingest.tokens` is set.
    pub(super) events: bool,
    /// `admin.tokens` is set.
    pub(super) admin: bool,
}

/// Reads the section.
pub(super) fn listen(node: &Node, guarded: Guarded, context: &mut Context<'_>) -> Option<Listen> {
    let fields = mapping(node, Listen::NAMES, context)?;
    let mut listen = Listen::default();
    // The node of each address, those of events first; `None` if it is left out.
    let mut nodes: Vec<Option<&Node>> = vec![None];
    if let Some(node) = fields.node("events") {
        let (read, at) = events(node, guarded.events, context);
        listen.events = read;
        nodes = at.into_iter().map(Some).collect();
    }
    let admin = fields.node("admin");
    if let Some(node) = admin
        && let Some(address) = own_address(node, context)
    {
        if address.is_exposed() && !guarded.admin {
            context.error(node, EXPOSED_ADMIN);
        }
        listen.admin = address;
    }
    nodes.push(admin);
    let metrics = fields.node("metrics");
    listen.metrics = metrics.and_then(|node| own_address(node, context));
    nodes.push(metrics);
    let placed: Vec<_> = listen.addresses().into_iter().zip(nodes).collect();
    for ((name, _), node) in &placed {
        if let Some(node) = node {
            context.note(name, node);
        }
    }
    report_taken(&placed, context);
    Some(listen)
}

/// The addresses, with the nodes of those that can be read.
fn events<'n>(
    node: &'n Node,
    has_tokens: bool,
    context: &mut Context<'_>,
) -> (Vec<ListenAddress>, Vec<&'n Node>) {
    let nodes = match &node.value {
        Value::Sequence(nodes) => {
            if nodes.is_empty() {
                context.error(node, "expected at least one address");
            }
            nodes.as_slice()
        }
        Value::Scalar(_) | Value::Mapping(_) => std::slice::from_ref(node),
    };
    let read = |node: &'n Node| {
        let address = address(node, context)?;
        if address.is_exposed() && !has_tokens {
            context.error(node, EXPOSED_EVENTS);
        }
        Some((address, node))
    };
    nodes.iter().filter_map(read).unzip()
}

/// One address or several.
#[derive(Debug)]
struct Addresses;

impl Form for Addresses {
    type Value = Vec<ListenAddress>;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Vec<ListenAddress>> {
        Some(events(node, true, context).0)
    }

    fn show(&self, value: &Vec<ListenAddress>) -> Json {
        Json::Array(value.iter().map(shown).collect())
    }

    fn schema(&self, _: For) -> Json {
        let one = json!({"type": "string", "pattern": "^(unix:.+|systemd:.+|.+:[0-9]{1,5})$"});
        json!({"anyOf": [one.clone(), {"type": "array", "items": one, "minItems": 1}]})
    }

    /// One alone, as most people write it.
    fn documented(&self, built_in: &Vec<ListenAddress>) -> Option<Json> {
        built_in.first().map(shown)
    }
}

/// An address that the relay binds itself.
const OWN_ADDRESS: By<ListenAddress> = By {
    read: own_address,
    show: shown,
    schema: |_| json!({"type": "string", "pattern": "^(unix:.+|.+:[0-9]{1,5})$"}),
};

/// Reports each address that conflicts with another listener: at the later one, unless only the earlier is in the file.
fn report_taken(placed: &[((String, &ListenAddress), Option<&Node>)], context: &mut Context<'_>) {
    for (index, ((name, address), node)) in placed.iter().enumerate() {
        let is_for_events = name.starts_with(EVENTS);
        let taken = placed.iter().take(index).find(|((other, earlier), _)| {
            let merges = is_for_events && other.starts_with(EVENTS);
            is_in_the_way(earlier, address, merges)
        });
        let Some(((other, _), earlier)) = taken else {
            continue;
        };
        match (node, earlier) {
            (Some(node), _) => context.error(node, taken_by(other)),
            (None, Some(node)) => context.error(node, taken_by(name)),
            (None, None) => {}
        }
    }
}

/// The message that an address is not free.
pub(crate) fn taken_by(other: &str) -> String {
    format!("another listener has this address already: {other}")
}
