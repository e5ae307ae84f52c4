//! The shape of one setting: name, type, default, limits, and how far it is served.

/// Value type as Kafka's DescribeConfigs reports it (`DescribeConfigsResponse.ConfigType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Bool,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Kind {
    /// The number on the wire (KIP-569).
    pub const fn wire(self) -> i8 {
        match self {
            Kind::Bool => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }
}

/// What a value must satisfy beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// Within the range or exactly the third value (gzip level: 1..9, or −1 for the codec's own default).
    BetweenOr(i64, i64, i64),
    /// Inclusive range of a double.
    Ratio(f64, f64),
    OneOf(&'static [&'static str]),
    /// As `OneOf`, upper and lower case alike.
    OneOfAnyCase(&'static [&'static str]),
    /// A list without duplicates of these words; empty if the flag is true.
    ListOf(&'static [&'static str], bool),
    /// A list without duplicates and without empty items; the list itself may be empty if the flag is true.
    Distinct(bool),
    /// A string that may not be empty.
    NonEmpty,
    /// `partition:broker,…` or `*`: replicas that a replication throttle covers.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:<ISO 8601 duration>` (KIP-932).
    ShareOffsetReset,
}

/// Weight of a setting in documentation. Not on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// Whether a broker setting can be changed while it runs (`DynamicBrokerConfig.java`). Topic and group settings are
/// always `ClusterWide`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dynamic {
    ReadOnly,
    /// Only for one named broker.
    PerBroker,
    /// As the cluster's default or for one named broker.
    ClusterWide,
}

/// What Millrace does with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Takes effect.
    Honoured,
    /// Accepted, stored and shown, because existing configurations carry it, but nothing here depends on it.
    KnownUnused,
    /// Honoured, but only for these values (for a list: these items); any other value is refused with the reason.
    Only(&'static [&'static str], &'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfigDef {
    pub name: &'static str,
    pub kind: Kind,
    /// `None` is Kafka's null: no value unless one is set.
    pub default: Option<&'static str>,
    pub check: Check,
    pub importance: Importance,
    pub dynamic: Dynamic,
    pub support: Support,
    /// Hidden from DescribeConfigs listings and documentation, yet accepted.
    pub internal: bool,
    pub doc: &'static str,
}

impl ConfigDef {
    /// A setting with Kafka's usual properties: medium importance, read-only, honoured.
    pub const fn new(name: &'static str, kind: Kind, default: &'static str, check: Check, doc: &'static str) -> Self {
        ConfigDef {
            name,
            kind,
            default: Some(default),
            check,
            importance: Importance::Medium,
            dynamic: Dynamic::ReadOnly,
            support: Support::Honoured,
            internal: false,
            doc,
        }
    }

    /// Without a default value.
    pub const fn null(self) -> Self {
        ConfigDef { default: None, ..self }
    }

    pub const fn high(self) -> Self {
        ConfigDef { importance: Importance::High, ..self }
    }

    pub const fn low(self) -> Self {
        ConfigDef { importance: Importance::Low, ..self }
    }

    pub const fn cluster_wide(self) -> Self {
        ConfigDef { dynamic: Dynamic::ClusterWide, ..self }
    }

    pub const fn per_broker(self) -> Self {
        ConfigDef { dynamic: Dynamic::PerBroker, ..self }
    }

    pub const fn unused(self) -> Self {
        ConfigDef { support: Support::KnownUnused, ..self }
    }

    pub const fn only(self, allowed: &'static [&'static str], why: &'static str) -> Self {
        ConfigDef { support: Support::Only(allowed, why), ..self }
    }

    pub const fn hidden(self) -> Self {
        ConfigDef { internal: true, ..self }
    }

    /// Values of such settings are never shown.
    pub const fn sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }
}
