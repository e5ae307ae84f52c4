//! Connections to the brokers of one cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_wire::kp::messages::metadata_request::MetadataRequestTopic;
use millrace_wire::kp::messages::{MetadataRequest, MetadataResponse, TopicName};
use millrace_wire::kp::protocol::{Request, StrBytes};
use millrace_wire::{Client, ClientError};

use crate::error::Error;

/// The bootstrap connection, and others as they are needed.
pub struct Session {
    bootstrap: Client,
    brokers: BTreeMap<i32, Client>,
    timeout: Duration,
}

impl Session {
    /// Connects to the first server of the list that answers.
    pub async fn open(servers: &str, timeout: Duration) -> Result<Self, Error> {
        let mut reason = "no address given".to_owned();
        for server in servers.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let addr = with_port(server);
            match connect(&addr, timeout).await {
                Ok(bootstrap) => {
                    return Ok(Self { bootstrap, brokers: BTreeMap::new(), timeout });
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(Error::Unreachable { servers: servers.to_owned(), reason })
    }

    /// The bootstrap connection.
    pub fn any(&mut self) -> &mut Client {
        &mut self.bootstrap
    }

    /// Calls any broker, in the newest version that both sides speak.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, Error> {
        Ok(self.bootstrap.negotiate(request).await?.0)
    }

    /// Names of topics and where they are; `None` for all topics. Never creates
    /// one.
    pub async fn metadata(&mut self, topics: Option<&[String]>) -> Result<MetadataResponse, Error> {
        let topics = topics.map(|names| {
            names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
        });
        let request = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        self.call(&request).await
    }

    /// The connection to one broker of the cluster.
    pub async fn broker(&mut self, id: i32, host: &str, port: i32) -> Result<&mut Client, Error> {
        if !self.brokers.contains_key(&id) {
            let addr = format!("{host}:{port}");
            let client = connect(&addr, self.timeout).await.map_err(|error| Error::Unreachable {
                servers: format!("{addr} (broker {id})"),
                reason: error.to_string(),
            })?;
            self.brokers.insert(id, client);
        }
        self.brokers.get_mut(&id).ok_or_else(|| Error::Usage(format!("no connection to broker {id}")))
    }
}

async fn connect(addr: &str, timeout: Duration) -> Result<Client, ClientError> {
    let client =
        tokio::time::timeout(timeout, Client::connect(addr)).await.map_err(|_| ClientError::Timeout(timeout))??;
    Ok(client.with_client_id("millrace-cli").with_timeout(timeout))
}

/// Kafka's port is added when the address has none.
fn with_port(server: &str) -> String {
    let bare_v6 = server.matches(':').count() > 1 && !server.starts_with('[');
    if bare_v6 {
        format!("[{server}]:9092")
    } else if server.ends_with(']') || !server.contains(':') {
        format!("{server}:9092")
    } else {
        server.to_owned()
    }
}

/// A topic name as the protocol has it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out() {
        assert_eq!(with_port("kafka"), "kafka:9092");
        assert_eq!(with_port("kafka:19092"), "kafka:19092");
        assert_eq!(with_port("[::1]:19092"), "[::1]:19092");
        assert_eq!(with_port("[::1]"), "[::1]:9092");
        assert_eq!(with_port("::1"), "[::1]:9092");
    }
}
