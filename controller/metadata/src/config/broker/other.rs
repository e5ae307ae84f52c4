//! Metrics, quotas and plug-ins (`MetricConfigs.java`, `QuotaConfig.java`).

use super::def;
use crate::config::def::Kind::{Class, Int, List, Long, String};
use crate::config::def::{Check, ConfigDef};

const NO_PLUGINS: &str = "classes cannot be loaded into this broker; remove the setting";

#[rustfmt::skip]
pub static TABLE: &[ConfigDef] = &[
    def("alter.config.policy.class.name", Class, "", Check::Any,
        "Class that may refuse configuration changes.").null().low().only(&[""], NO_PLUGINS),
    def("alter.log.dirs.replication.quota.window.num", Int, "11", Check::AtLeast(1),
        "Samples kept for the limit of moves between directories.").low().unused(),
    def("alter.log.dirs.replication.quota.window.size.seconds", Int, "1", Check::AtLeast(1),
        "Length of a sample for the limit of moves between directories.").low().unused(),
    def("client.quota.callback.class", Class, "", Check::Any,
        "Class that computes client quotas.").null().low().only(&[""], NO_PLUGINS),
    def("config.providers", List, "", Check::Distinct(true),
        "Names of configuration providers that replace variables in values.").low().cluster_wide().only(&[""], NO_PLUGINS),
    def("controller.quota.window.num", Int, "11", Check::AtLeast(1),
        "Samples kept for the quota of topic changes.").low().unused(),
    def("controller.quota.window.size.seconds", Int, "1", Check::AtLeast(1),
        "Length of a sample for the quota of topic changes.").low().unused(),
    def("create.topic.policy.class.name", Class, "", Check::Any,
        "Class that may refuse new topics.").null().low().only(&[""], NO_PLUGINS),
    def("kafka.metrics.polling.interval.secs", Int, "10", Check::AtLeast(1),
        "How often old-style metrics are collected.").low().unused(),
    def("kafka.metrics.reporters", List, "", Check::Distinct(true),
        "Classes that report old-style metrics.").low().unused(),
    def("metric.reporters", List, "org.apache.kafka.common.metrics.JmxReporter", Check::Distinct(true),
        "Classes that report metrics. Metrics are served over HTTP here.").low().cluster_wide().unused(),
    def("metrics.num.samples", Int, "2", Check::AtLeast(1),
        "Samples kept for a metric.").low().unused(),
    def("metrics.recording.level", String, "INFO", Check::Any,
        "Least level at which metrics are recorded.").low().unused(),
    def("metrics.sample.window.ms", Long, "30000", Check::AtLeast(1),
        "Length of a sample of a metric.").low().unused(),
    def("quota.window.num", Int, "11", Check::AtLeast(1),
        "Samples kept for client quotas.").low().unused(),
    def("quota.window.size.seconds", Int, "1", Check::AtLeast(1),
        "Length of a sample for client quotas.").low().unused(),
    def("replication.quota.window.num", Int, "11", Check::AtLeast(1),
        "Samples kept for the limit of replication.").low().unused(),
    def("replication.quota.window.size.seconds", Int, "1", Check::AtLeast(1),
        "Length of a sample for the limit of replication.").low().unused(),
];
