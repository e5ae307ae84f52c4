//! `listeners`, `advertised.listeners` and `listener.security.protocol.map`, read as Kafka does
//! (`SocketServerConfigs.java`, `KafkaConfig.scala`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use millrace_metadata::config::list_items;

/// How clients of a listener talk to it. The numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Protocol {
    Plaintext = 0,
    Ssl = 1,
    SaslPlaintext = 2,
    SaslSsl = 3,
}

impl Protocol {
    pub fn parse(text: &str) -> Option<Protocol> {
        Some(match text.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Protocol::Plaintext,
            "SSL" => Protocol::Ssl,
            "SASL_PLAINTEXT" => Protocol::SaslPlaintext,
            "SASL_SSL" => Protocol::SaslSsl,
            _ => return None,
        })
    }

    pub fn code(self) -> i16 {
        self as i16
    }
}

/// A listener: its name in upper case, where it listens or is reached, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    /// Empty: all interfaces.
    pub host: String,
    /// 0: the system chooses one.
    pub port: u16,
    pub protocol: Protocol,
}

/// Name to protocol. Without a map of one's own, controller listeners speak plaintext.
pub fn parse_map(text: &str, is_set: bool, controllers: &[String]) -> Result<BTreeMap<String, Protocol>, String> {
    let mut map = BTreeMap::new();
    for item in list_items(text) {
        let parsed = item.split_once(':').and_then(|(name, protocol)| Some((name, Protocol::parse(protocol.trim())?)));
        let Some((name, protocol)) = parsed else {
            return Err(format!("{item} is not NAME:PROTOCOL with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"));
        };
        if map.insert(name.trim().to_ascii_uppercase(), protocol).is_some() {
            return Err(format!("{name} is mapped twice"));
        }
    }
    if !is_set {
        for name in controllers {
            map.entry(name.clone()).or_insert(Protocol::Plaintext);
        }
    }
    Ok(map)
}

/// Reads a list of listeners. Names are distinct; ports too, if asked, except 0 and one IPv4 with one IPv6 address.
pub fn parse(text: &str, map: &BTreeMap<String, Protocol>, distinct: bool) -> Result<Vec<Listener>, String> {
    let mut listeners: Vec<Listener> = Vec::new();
    for item in list_items(text) {
        let listener = parse_one(item, map)?;
        if listeners.iter().any(|l| l.name == listener.name) {
            return Err(format!("listener {} appears twice; each needs a name of its own", listener.name));
        }
        let clash = listeners.iter().find(|l| distinct && same_port(l, &listener));
        if let Some(other) = clash {
            return Err(format!("{} and {} both use port {}", other.name, listener.name, listener.port));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn parse_one(item: &str, map: &BTreeMap<String, Protocol>) -> Result<Listener, String> {
    let bad = || format!("{item} is not NAME://host:port");
    let (name, address) = item.split_once("://").ok_or_else(bad)?;
    let (host, port) = split_address(address).ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| format!("{item}: the port must be between 0 and 65535"))?;
    let name = name.trim().to_ascii_uppercase();
    if name.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-%._:".contains(&b)) {
        return Err(bad());
    }
    let Some(protocol) = map.get(&name).copied() else {
        return Err(format!(
            "listener {name} has no security protocol; add {name}:PLAINTEXT to listener.security.protocol.map"
        ));
    };
    Ok(Listener { name, host: host.to_owned(), port, protocol })
}

/// `host:port` or `[v6]:port`, host possibly empty.
pub fn split_address(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']')?,
        None => host,
    };
    Some((host, port))
}

/// Whether the text is `host:port`.
pub fn is_address(text: &str) -> bool {
    host_port(text).is_some()
}

/// `host:port` as its two parts.
pub fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = split_address(text)?;
    Some((host.to_owned(), port.parse().ok()?))
}

fn same_port(a: &Listener, b: &Listener) -> bool {
    let v4 = |l: &Listener| l.host.parse::<Ipv4Addr>().is_ok();
    let v6 = |l: &Listener| l.host.parse::<Ipv6Addr>().is_ok();
    a.port == b.port && a.port != 0 && !((v4(a) && v6(b)) || (v6(a) && v4(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> BTreeMap<String, Protocol> {
        parse_map("PLAINTEXT:PLAINTEXT,SSL:SSL", false, &["CONTROLLER".to_owned()]).unwrap()
    }

    #[test]
    fn kafka_forms() {
        let got = parse("PLAINTEXT://:9092, controller://[::1]:0", &map(), true).unwrap();
        assert_eq!(
            got[0],
            Listener { name: "PLAINTEXT".into(), host: "".into(), port: 9092, protocol: Protocol::Plaintext }
        );
        assert_eq!((got[1].name.as_str(), got[1].host.as_str(), got[1].port), ("CONTROLLER", "::1", 0));
    }

    #[test]
    fn refused_forms() {
        for bad in
            ["localhost:9092", "PLAINTEXT://localhost", "PLAINTEXT://h:99999", "INTERNAL://h:1", "PLAINTEXT://a b:1"]
        {
            assert!(parse(bad, &map(), true).is_err(), "{bad}");
        }
        assert!(parse("PLAINTEXT://a:1,PLAINTEXT://b:2", &map(), true).is_err());
        assert!(parse("PLAINTEXT://a:1,SSL://b:1", &map(), true).is_err());
        assert!(parse("PLAINTEXT://127.0.0.1:1,SSL://[::1]:1", &map(), true).is_ok());
        assert!(parse("PLAINTEXT://a:1,SSL://b:1", &map(), false).is_ok());
        assert!(parse_map("A:B", true, &[]).is_err());
    }
}
