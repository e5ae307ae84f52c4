//! The version byte in front of everything that is kept on a disk.
//!
//! ```text
//! ┌─────────┬──────────────────────────────┐
//! │ 1 byte  │ rest                         │
//! │ version │ protobuf message             │
//! └─────────┴──────────────────────────────┘
//! ```

use crate::DecodeError;

/// The version that is written, and the newest one that is read.
const VERSION: u8 = 1;

/// The message with the version byte in front.
pub fn encode(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(VERSION);
    message.encode_raw(&mut bytes);
    bytes
}

/// # Errors
/// [`DecodeError::Version`] for what newer software wrote; else that the bytes are damaged.
pub fn decode<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, rest)) => Ok(M::decode(rest)?),
        Some((&found, _)) => Err(DecodeError::Version { found, known: VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;

    #[test]
    fn refuses_other_versions() {
        let mut bytes = encode(&pb::LogId { term: 3, index: 7 });
        assert_eq!(decode::<pb::LogId>(&bytes), Ok(pb::LogId { term: 3, index: 7 }));
        bytes[0] = 2;
        assert_eq!(decode::<pb::LogId>(&bytes), Err(DecodeError::Version { found: 2, known: 1 }));
        assert_eq!(decode::<pb::LogId>(&[]), Err(DecodeError::Empty));
        assert!(matches!(decode::<pb::LogId>(&[1, 0xff]), Err(DecodeError::Malformed(_))));
    }
}
