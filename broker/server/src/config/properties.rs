//! The format of `server.properties`: what `java.util.Properties.load` reads.

/// One assignment with the number of the line that it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// Reads all assignments in their order; of several with one key the last one counts. Errors name the line.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let mut logical = first.trim_start_matches(is_blank).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_with_continuation(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let line = number + 1;
        let unescaped = |part: &str| unescape(part).map_err(|why| format!("line {line}: {why}"));
        entries.push(Entry { line, key: unescaped(key)?, value: unescaped(value)? });
    }
    Ok(entries)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// An odd number of backslashes at the end joins the next line.
fn ends_with_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or blank that no backslash precedes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if is_blank(c) || c == '=' || c == ':' {
            let rest = line[at..].trim_start_matches(is_blank);
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start_matches(is_blank));
        }
    }
    (line, "")
}

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut pair = [0u16; 2];
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut pair));
            continue;
        }
        match chars.next() {
            None => {}
            Some('t') => units.push(u16::from(b'\t')),
            Some('n') => units.push(u16::from(b'\n')),
            Some('r') => units.push(u16::from(b'\r')),
            Some('f') => units.push(0x0c),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                units.push(unit.ok_or_else(|| format!("\\u{digits} is not a character"))?);
            }
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut pair)),
        }
    }
    String::from_utf16(&units).map_err(|_| "a \\u escape makes no character".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|e| (e.key, e.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_blanks_and_comments() {
        let text = "# comment\n! too\n\na=1\n b : 2\nc 3\nd\ne = x = y \n";
        let expected = [("a", "1"), ("b", "2"), ("c", "3"), ("d", ""), ("e", "x = y ")];
        assert_eq!(pairs(text), expected.map(|(k, v)| pair(k, v)));
    }

    #[test]
    fn continuation_and_escapes() {
        let text = "listeners=PLAINTEXT://:9092,\\\n   CONTROLLER://:9093\npath=c\\:\\\\x\\u00e9\nlast=a\\\\\nnext=1";
        let expected =
            [("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"), ("path", "c:\\xé"), ("last", "a\\"), ("next", "1")];
        assert_eq!(pairs(text), expected.map(|(k, v)| pair(k, v)));
    }

    #[test]
    fn bad_escape_names_the_line() {
        assert!(parse("a=1\nb=\\u12").unwrap_err().starts_with("line 2:"));
    }
}
