//! Where clients reach the brokers: what Metadata, DescribeCluster and the leader hints answer with.
//!
//! Answers name addresses of the listener that the client came in on. The address of a broker on its own is the one that
//! the client used to reach it, unless `advertised.listeners` pins one: a client behind a port mapping that nobody
//! configured at least gets what worked a moment ago, and there is no setting to forget. In a cluster every broker must
//! give the same answer, the registered address: clients drop a connection when its broker gets another name.

use std::net::IpAddr;

use millrace_metadata::ids::NodeId;
use millrace_metadata::image::{BrokerImage, Image};

use crate::api::Cx;

/// A broker as a client of one listener sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// Whether it is fenced.
    pub fenced: bool,
}

/// Brokers that are not fenced and have the client's listener, by ascending id.
pub fn live(cx: &Cx, image: &Image) -> Vec<Node> {
    image.live_brokers().filter_map(|broker| node(cx, image, broker)).collect()
}

/// All registered brokers with the client's listener, fenced ones too, by ascending id.
pub fn registered(cx: &Cx, image: &Image) -> Vec<Node> {
    image.brokers().filter_map(|broker| node(cx, image, broker)).collect()
}

/// One broker, if it is not fenced and has the client's listener.
pub fn live_one(cx: &Cx, image: &Image, id: NodeId) -> Option<Node> {
    image.broker(id).filter(|broker| !broker.fenced).and_then(|broker| node(cx, image, broker))
}

fn node(cx: &Cx, image: &Image, broker: &BrokerImage) -> Option<Node> {
    let endpoint = broker.endpoint(&cx.conn.listener)?;
    let alone = broker.id == cx.broker.node_id && image.brokers().nth(1).is_none();
    let (host, port) = if alone && !cx.broker.is_address_pinned(&cx.conn.listener) {
        (printable(cx.conn.local_addr.ip()), cx.conn.local_addr.port())
    } else {
        (endpoint.host.clone(), endpoint.port)
    };
    Some(Node { id: broker.id, host, port: i32::from(port), rack: broker.rack.clone(), fenced: broker.fenced })
}

/// An address as text; an IPv4 address that arrived on an IPv6 socket is shown as IPv4.
fn printable(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_shown_as_ipv4() {
        assert_eq!(printable("::ffff:10.1.2.3".parse().unwrap()), "10.1.2.3");
        assert_eq!(printable("::1".parse().unwrap()), "::1");
    }
}
