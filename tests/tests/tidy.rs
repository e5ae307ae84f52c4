//! The walls of the house and the sizes of its rooms. Exceptions are listed in `tidy.exceptions`; a line there that
//! is no longer needed fails too, so the list can only shrink.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 620;
const MAX_FUNCTION_LINES: usize = 90;
const MAX_PARAMETERS: usize = 6;

/// Folder, and the rooms that it may use.
const ROOMS: [(&str, &[&str]); 13] = [
    ("controller/metadata", &[]),
    ("controller/state", &["metadata"]),
    ("controller/store", &[]),
    ("controller/rpc", &["metadata"]),
    ("controller/node", &["metadata", "state", "store", "rpc"]),
    ("broker/wire", &[]),
    ("broker/log", &["metadata", "store"]),
    ("broker/replica", &["metadata", "store", "log"]),
    ("broker/groups", &["metadata"]),
    ("broker/transactions", &["metadata"]),
    ("broker/security", &["metadata"]),
    (
        "broker/server",
        &[
            "metadata",
            "state",
            "store",
            "rpc",
            "controller",
            "wire",
            "log",
            "replica",
            "groups",
            "transactions",
            "security",
        ],
    ),
    ("admin-cli", &["wire", "metadata"]),
];

/// Rooms that get time, chance and order from outside.
const PURE: [&str; 6] =
    ["controller/metadata", "controller/state", "broker/log", "broker/replica", "broker/groups", "broker/transactions"];
const CLOCKS: [&str; 7] =
    ["SystemTime::now", "Instant::now", "rand::rng(", "thread_rng", "OsRng", "getrandom", "Uuid::new_v4"];

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().unwrap()
}

fn files(dir: &Path, ends: &[&str], out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "node_modules" | "millrace-data" | "corpus" | "artifacts") {
                files(&path, ends, out);
            }
        } else if ends.iter().any(|e| name.ends_with(e)) {
            out.push(path);
        }
    }
}

/// Every Rust source of the repository: path from the root, and text without comments and tests.
fn sources() -> Vec<(String, String, String)> {
    let root = root();
    let mut found = Vec::new();
    files(&root, &[".rs"], &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let code = code_of(&name, &text);
            (name, text, code)
        })
        .collect()
}

/// Code that is compiled into the product: no comment lines, nothing after the first test module, no test files.
fn code_of(name: &str, text: &str) -> String {
    if name.contains("/tests/")
        || name.contains("/tests.rs")
        || name.contains("/benches/")
        || name.contains("/examples/")
    {
        return String::new();
    }
    let mut out = String::new();
    let mut gated = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if gated && trimmed.starts_with("mod ") && trimmed.ends_with('{') {
            break;
        }
        gated = trimmed.starts_with("#[cfg(test)]");
        if !trimmed.starts_with("//") {
            out += line;
        }
        out.push('\n');
    }
    out
}

/// Findings minus the listed exceptions; a listed exception that is not found is a finding.
fn settle(rule: &str, findings: Vec<String>) {
    let list = fs::read_to_string(root().join("tests/tidy.exceptions")).unwrap_or_default();
    let listed: BTreeSet<&str> = list
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once('\t'))
        .filter(|(r, _)| *r == rule)
        .map(|(_, what)| what.split('\t').next().unwrap_or(what))
        .collect();
    let found: BTreeSet<&str> = findings.iter().map(|f| f.split(": ").next().unwrap_or(f)).collect();
    let new: Vec<&String> = findings.iter().filter(|f| !listed.contains(f.split(": ").next().unwrap_or(f))).collect();
    let stale: Vec<&&str> = listed.iter().filter(|l| !found.contains(**l)).collect();
    assert!(new.is_empty() && stale.is_empty(), "{rule}: {new:#?}\nno longer needed in tidy.exceptions: {stale:#?}");
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let mut findings = Vec::new();
    for (folder, allowed) in ROOMS {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let own = manifest.split("[dev-dependencies]").next().unwrap_or("");
        for line in own.lines().filter_map(|l| l.strip_prefix("millrace-")) {
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
            if !allowed.contains(&name.as_str()) {
                findings.push(format!("{folder} {name}: not in the table of rooms"));
            }
        }
    }
    settle("graph", findings);
}

#[test]
fn wire_structs_and_rocksdb_stay_in_their_rooms() {
    let mut findings = Vec::new();
    for (name, _, code) in sources() {
        let wire_room =
            ["broker/wire/", "broker/server/src/api/", "admin-cli/", "tests/"].iter().any(|r| name.starts_with(r));
        if !wire_room
            && (code.contains("kafka_protocol") || code.contains("millrace_wire::kp") || code.contains("kp::messages"))
        {
            findings.push(format!("{name}: Kafka message structs outside the wire's rooms"));
        }
        if !name.starts_with("controller/store/") && code.contains("rocksdb::") {
            findings.push(format!("{name}: RocksDB outside the store"));
        }
    }
    settle("walls", findings);
}

#[test]
fn pure_rooms_get_time_and_chance_from_outside() {
    let mut findings = Vec::new();
    for (name, _, code) in sources() {
        if !PURE.iter().any(|r| name.starts_with(&format!("{r}/src/"))) {
            continue;
        }
        for clock in CLOCKS.iter().filter(|c| code.contains(**c)) {
            findings.push(format!("{name} {clock}: time and chance come in from outside"));
        }
        for map in hash_maps(&code) {
            for way in [".iter()", ".keys()", ".values()", ".drain()", ".into_iter()", ".values_mut()", ".iter_mut()"] {
                if code.contains(&format!("{map}{way}")) || code.contains(&format!("in &{map} ")) {
                    findings.push(format!("{name} {map}{way}: the order of a hash map is chance"));
                }
            }
        }
    }
    settle("pure", findings);
}

/// Names of fields and variables that are declared as a standard hash map.
fn hash_maps(code: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for line in code.lines().filter(|l| l.contains("HashMap<") || l.contains("HashMap::") || l.contains("HashSet<")) {
        let Some((before, after)) = line.split_once(':') else {
            continue;
        };
        if !after.trim_start().trim_start_matches("Mutex<").trim_start_matches("std::collections::").starts_with("Hash")
        {
            continue;
        }
        let name: String = before.trim_end().chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        out.insert(name.chars().rev().collect());
    }
    out
}

#[test]
fn handlers_do_not_know_each_other() {
    let mut findings = Vec::new();
    let shared = ["mod", "table", "codes", "cx", "support", "common", "shared"];
    let all: Vec<_> = sources().into_iter().filter(|(n, _, _)| n.starts_with("broker/server/src/api/")).collect();
    let handlers: BTreeSet<String> = all
        .iter()
        .filter(|(_, _, code)| code.contains("pub fn handle("))
        .map(|(n, _, _)| Path::new(n).file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|n| !shared.contains(&n.as_str()))
        .collect();
    assert!(handlers.len() > 30, "only {} handlers were found", handlers.len());
    for (name, _, code) in &all {
        let own = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
        if !handlers.contains(&own) {
            continue;
        }
        for other in handlers.iter().filter(|h| **h != own) {
            if code.contains(&format!("super::{other}::")) || code.contains(&format!("api::{other}::")) {
                findings.push(format!("{name} {other}: a handler uses another"));
            }
        }
    }
    settle("handlers", findings);
}

#[test]
fn files_and_functions_fit() {
    let mut findings = Vec::new();
    assert!(
        sources().iter().map(|(_, _, code)| functions(code).len()).sum::<usize>() > 1_000,
        "functions are not found"
    );
    for (name, _, code) in sources() {
        let lines = code.trim_end().lines().count();
        if lines > MAX_FILE_LINES {
            findings.push(format!("{name} file: {lines} lines without tests"));
        }
        for (function, length, parameters) in functions(&code) {
            if length > MAX_FUNCTION_LINES {
                findings.push(format!("{name} {function}: {length} lines"));
            }
            if parameters > MAX_PARAMETERS {
                findings.push(format!("{name} {function}: {parameters} parameters"));
            }
        }
    }
    settle("size", findings);
}

/// Functions with their length in lines and their number of parameters; relies on rustfmt's indentation.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut out = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let Some(name) = function_name(trimmed) else {
            continue;
        };
        let end = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[at..]
            .iter()
            .position(|l| **l == end || (l.trim_end().ends_with(';') && l.len() - l.trim_start().len() == indent))
        else {
            continue;
        };
        let head = lines[at..].join("\n");
        out.push((name, length + 1, parameters(&head)));
    }
    out
}

fn function_name(line: &str) -> Option<String> {
    let words = line
        .trim_start_matches("pub ")
        .trim_start_matches("pub(crate) ")
        .trim_start_matches("pub(super) ")
        .trim_start_matches("const ")
        .trim_start_matches("async ")
        .trim_start_matches("unsafe ");
    let name: String = words.strip_prefix("fn ")?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    Some(name)
}

/// Counts the parameters of the first function in `head`, without `self`.
fn parameters(head: &str) -> usize {
    let Some(open) = head.find('(') else { return 0 };
    let (mut depth, mut count, mut some) = (0i32, 0, false);
    let mut last = ' ';
    for c in head[open..].chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if last == '-' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 1 => {
                count += usize::from(some);
                some = false;
            }
            c if depth == 1 && !c.is_whitespace() => some = true,
            _ => {}
        }
        last = c;
        if depth == 0 {
            break;
        }
    }
    let with_self = head[open..]
        .trim_start_matches(['(', '\n', ' '])
        .trim_start_matches('&')
        .trim_start_matches("mut ")
        .starts_with("self");
    count + usize::from(some) - usize::from(with_self)
}

#[test]
fn every_room_tells_its_purpose() {
    let rooms = ROOMS.iter().map(|(r, _)| *r).chain(["tests"]);
    let findings = rooms
        .filter(|r| !root().join(r).join("README.md").exists())
        .map(|r| format!("{r}: has no README.md"))
        .collect();
    settle("readme", findings);
}

#[test]
fn no_registry_is_named() {
    // Put together here, so that this file does not name one.
    let hosts: Vec<String> = [
        ["crates", "io"],
        ["static.crates", "io"],
        ["pypi", "org"],
        ["files.pythonhosted", "org"],
        ["registry.npmjs", "org"],
        ["proxy.golang", "org"],
        ["repo.maven.apache", "org"],
        ["repo1.maven", "org"],
        ["deb.debian", "org"],
    ]
    .iter()
    .map(|p| p.join("."))
    .collect();
    let mut found = Vec::new();
    files(
        &root(),
        &[".rs", ".toml", ".sh", ".md", ".xml", ".json", ".yml", ".py", ".js", ".go", ".java", "Makefile", "run"],
        &mut found,
    );
    let mut findings = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for host in hosts.iter().filter(|h| text.contains(h.as_str())) {
            findings.push(format!("{}: {host}", path.strip_prefix(root()).unwrap().display()));
        }
    }
    settle("hosts", findings);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let mut findings = Vec::new();
    let mut per_file: BTreeMap<String, usize> = BTreeMap::new();
    for (name, text, _) in sources() {
        let count = words.iter().map(|w| text.matches(w.as_str()).count()).sum::<usize>();
        if count > 0 {
            per_file.insert(name, count);
        }
    }
    findings.extend(per_file.into_iter().map(|(name, n)| format!("{name}: {n} notes for later")));
    settle("later", findings);
}

#[test]
fn the_counter_of_parameters_counts() {
    assert_eq!(parameters("fn a()"), 0);
    assert_eq!(parameters("fn a(&self)"), 0);
    assert_eq!(parameters("fn a(&mut self, b: Map<A, B>, c: impl Fn(A, B) -> C,\n)"), 2);
    assert_eq!(parameters("fn a(b: [u8; 4], c: (A, B))"), 2);
}
