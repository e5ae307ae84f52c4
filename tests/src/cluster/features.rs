//! Levels of features: what a broker supports, what the cluster runs at, and changes of that.

use std::collections::BTreeMap;

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{ApiVersionsRequest, UpdateFeaturesRequest};
use kafka_protocol::protocol::StrBytes;

use crate::raw::Conn;

/// Shows features that may be off.
const API_VERSIONS: i16 = 4;
const UPDATE_VERSION: i16 = 1;
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const TIMEOUT_MS: i32 = 30_000;

/// Levels as one broker tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Lowest and highest that its software supports.
    pub supported: BTreeMap<String, (i16, i16)>,
    /// What is on.
    pub finalized: BTreeMap<String, i16>,
}

impl Levels {
    /// The highest level that the software supports; 0 if it does not know the feature.
    pub fn highest(&self, feature: &str) -> i16 {
        self.supported.get(feature).map_or(0, |(_, max)| *max)
    }

    /// The level that the cluster runs at; 0 if the feature is off.
    pub fn now(&self, feature: &str) -> i16 {
        self.finalized.get(feature).copied().unwrap_or(0)
    }
}

impl Conn {
    pub fn levels(&mut self) -> anyhow::Result<Levels> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("millrace-tests"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let answer = self.request(API_VERSIONS, &request)?;
        anyhow::ensure!(answer.error_code == 0, "ApiVersions: error {}", answer.error_code);
        let supported = answer.supported_features.iter();
        let finalized = answer.finalized_features.iter();
        Ok(Levels {
            supported: supported.map(|f| (f.name.to_string(), (f.min_version, f.max_version))).collect(),
            finalized: finalized.map(|f| (f.name.to_string(), f.max_version_level)).collect(),
        })
    }

    /// Sets the level of a feature, up or down as it comes; returns the error code and why.
    pub fn update_feature(&mut self, feature: &str, level: i16) -> anyhow::Result<(i16, String)> {
        let kind = if level >= self.levels()?.now(feature) { UPGRADE } else { SAFE_DOWNGRADE };
        let update = FeatureUpdateKey::default()
            .with_feature(StrBytes::from_string(feature.to_owned()))
            .with_max_version_level(level)
            .with_upgrade_type(kind);
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.request(UPDATE_VERSION, &request)?;
        Ok((answer.error_code, answer.error_message.map(|m| m.to_string()).unwrap_or_default()))
    }
}
