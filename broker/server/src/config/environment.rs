//! `KAFKA_…` environment variables, mapped to settings as the official Kafka image does
//! (`KafkaDockerWrapper.scala`): `___` is `-`, `__` is `_`, `_` is `.`.

const PREFIX: &str = "KAFKA_";

/// Variables of the official image and of Kafka's scripts that are no settings.
const NOT_SETTINGS: &[&str] = &[
    "KAFKA_CLUSTERS",
    "KAFKA_DEBUG",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_LOG4J_CMD_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_MODE",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_VERSION",
];

/// A setting taken from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvSetting {
    pub variable: String,
    pub key: String,
    pub value: String,
}

/// Finds the settings among the variables, sorted by variable.
pub fn settings(variables: impl Iterator<Item = (String, String)>) -> Vec<EnvSetting> {
    let mut found: Vec<EnvSetting> = variables
        .filter(|(name, _)| name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name.as_str()))
        .filter(|(name, value)| !is_service_link(name, value))
        .map(|(variable, value)| EnvSetting { key: key_of(&variable), variable, value })
        .collect();
    found.sort_by(|a, b| a.variable.cmp(&b.variable));
    found
}

fn key_of(variable: &str) -> String {
    let name = variable.strip_prefix(PREFIX).unwrap_or(variable);
    name.to_lowercase().replace('_', ".").replace("...", "-").replace("..", "_")
}

/// Kubernetes describes a service called "kafka" to every container in such variables.
fn is_service_link(name: &str, value: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT") && (name.contains("_TCP") || name.contains("_UDP")))
        || (name.ends_with("_PORT") && (value.starts_with("tcp://") || value.starts_with("udp://")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        settings(vars).into_iter().map(|s| (s.key, s.value)).collect()
    }

    #[test]
    fn names_are_mapped() {
        let got = read(&[
            ("KAFKA_LOG_DIRS", "/data"),
            ("KAFKA_LISTENER_NAME_SASL__PLAINTEXT_SSL_CIPHER___X", "y"),
            ("PATH", "/bin"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
        ]);
        let expected = [("listener.name.sasl_plaintext.ssl.cipher-x", "y"), ("log.dirs", "/data")];
        assert_eq!(got, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn kubernetes_service_links_are_no_settings() {
        let links = [
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_SERVICE_PORT_CLIENT", "9092"),
            ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ];
        assert_eq!(read(&links), []);
    }
}
