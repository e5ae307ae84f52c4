//! The topics inside a consumer's subscription, the only part of a member's metadata that the broker reads
//! (`clients/src/main/resources/common/message/ConsumerProtocolSubscription.json`).

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::records::{DecodeError, Reader};

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// Adds the topics of a subscription to `topics`. Version 0 is a prefix of all later ones:
/// `version i16 │ topics [string] │ user data bytes? │ …`.
pub fn read_topics(metadata: &Bytes, topics: &mut BTreeSet<String>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(metadata.clone());
    let version = reader.i16()?;
    if version < 0 {
        return Err(DecodeError::UnknownVersion { what: "ConsumerProtocolSubscription", version });
    }
    for _ in 0..reader.array(false)? {
        topics.insert(reader.string(false)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_whatever_follows() {
        let metadata = Bytes::from_static(b"\x00\x03\x00\x00\x00\x02\x00\x01b\x00\x01a\xff\xff\xff\xff\x00\x00");
        let mut topics = BTreeSet::new();
        read_topics(&metadata, &mut topics).unwrap();
        assert_eq!(topics.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn damage_is_an_error() {
        let mut topics = BTreeSet::new();
        assert!(read_topics(&Bytes::from_static(b""), &mut topics).is_err());
        assert!(read_topics(&Bytes::from_static(b"\x00\x00\x7f\xff\xff\xff\x00\x01a"), &mut topics).is_err());
        assert!(read_topics(&Bytes::from_static(b"\xff\xff\x00\x00\x00\x00"), &mut topics).is_err());
    }
}
