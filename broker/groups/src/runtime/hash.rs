//! Java's `String.hashCode`, which spreads groups over partitions.

/// Over UTF-16 code units, with wrapping arithmetic.
pub fn java_string_hash(text: &str) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    text.encode_utf16().fold(0, step)
}

#[cfg(test)]
mod tests {
    use super::java_string_hash;

    #[test]
    fn hashes_are_javas() {
        // From `"…".hashCode()` of a JVM.
        for (text, hash) in [
            ("", 0),
            ("a", 97),
            ("console-consumer-12345", 158_455_506),
            ("my-group", -1_906_497_762),
            ("größe-😀", 175_616_671),
        ] {
            assert_eq!(java_string_hash(text), hash, "{text}");
        }
    }
}
