//! Identifiers of the cluster's things.

use std::fmt;
use std::str::FromStr;

/// Kafka's `broker.id` / `node.id`; −1 stands for "none" where a leader may be missing.
pub type NodeId = i32;

/// No node: the leader of a partition that has none.
pub const NO_NODE: NodeId = -1;

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id has 22 characters of the URL-safe base64 alphabet, not {0:?}")]
pub struct BadId(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// All zero: stands for "none" on the wire.
            pub const ZERO: $name = $name([0; 16]);

            pub fn is_zero(&self) -> bool {
                *self == Self::ZERO
            }

            /// A version 4 UUID made of the given random bytes. The version bits keep it clear of the ids that
            /// Kafka reserves (upper half zero); the top bit is cleared so that the text never starts with `-`,
            /// which command-line tools would take for an option.
            pub fn from_random(mut bytes: [u8; 16]) -> $name {
                bytes[0] &= 0x7f;
                bytes[6] = (bytes[6] & 0x0f) | 0x40;
                bytes[8] = (bytes[8] & 0x3f) | 0x80;
                $name(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                decode(text).map($name).ok_or_else(|| BadId(text.to_owned()))
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                $name(bytes)
            }
        }
    };
}

id! {
    /// A topic's incarnation (KIP-516): a topic that is deleted and created again gets a new one.
    TopicId
}
id! {
    /// A log directory of a broker or controller (KIP-858).
    DirId
}
id! {
    /// One run of a broker process: a new one after each start.
    IncarnationId
}

impl DirId {
    /// The replica's directory is not chosen yet (KIP-858).
    pub const UNASSIGNED: DirId = DirId::ZERO;
    /// The replica's directory is gone (KIP-858).
    pub const LOST: DirId = DirId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Characters of 16 bytes in base64 without padding.
const TEXT_LEN: usize = 22;

fn encode(bytes: &[u8; 16]) -> String {
    // 128 bits and four zero bits make 22 groups of six.
    let value = u128::from_be_bytes(*bytes);
    let mut text = String::with_capacity(TEXT_LEN);
    for group in 0..TEXT_LEN {
        let shift = 122 - 6 * group as i32;
        let bits = if shift >= 0 { value >> shift } else { value << -shift };
        text.push(char::from(ALPHABET[(bits & 0x3f) as usize]));
    }
    text
}

fn decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut value = 0u128;
    for (group, byte) in text.bytes().enumerate() {
        let bits = ALPHABET.iter().position(|&c| c == byte)? as u128;
        if group == TEXT_LEN - 1 {
            // The last group carries only two bits of the id.
            if bits & 0x0f != 0 {
                return None;
            }
            value = (value << 2) | (bits >> 4);
        } else {
            value = (value << 6) | bits;
        }
    }
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_text() {
        // What Kafka's Uuid.toString prints for these halves.
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(DirId::LOST.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let all = TopicId([0xff; 16]);
        assert_eq!(all.to_string(), "_____________________w");
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(text.parse::<TopicId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 16]) {
            let id = TopicId(bytes);
            prop_assert_eq!(id.to_string().parse::<TopicId>(), Ok(id));
        }

        #[test]
        fn random_ids_are_usable(bytes: [u8; 16]) {
            let id = TopicId::from_random(bytes);
            prop_assert!(!id.to_string().starts_with('-'));
            prop_assert!(id.0[..8] != [0; 8]);
        }
    }
}
