//! `--print-config`: every setting with its effective value and where that comes from.

use std::fmt::Write;

use millrace_metadata::config::{ConfigDef, Support, broker};

use super::settings::{Settings, definition};

const HIDDEN: &str = "[hidden]";

/// In the format of a properties file, sorted; sensitive values are hidden, settings without effect are marked.
pub fn print(settings: &Settings) -> String {
    let mut out = String::new();
    for def in broker::all().iter().filter(|def| !def.internal && !broker::dynamic_only(def.name)) {
        line(&mut out, def.name, def, settings);
    }
    for (key, _) in settings.iter().filter(|(key, _)| broker::find(key).is_none()) {
        match definition(key) {
            Some(def) => line(&mut out, key, def, settings),
            None => extra(&mut out, key, settings),
        }
    }
    out
}

fn line(out: &mut String, key: &str, def: &ConfigDef, settings: &Settings) {
    let (value, source) = match settings.own(key) {
        Some(set) => (Some(set.value.as_str()), set.source.to_string()),
        None => (def.default, "default".to_owned()),
    };
    let shown = match value {
        Some(_) if def.sensitive() => HIDDEN,
        Some(value) => value,
        None => "",
    };
    let unset = if value.is_none() { ", not set" } else { "" };
    let unused = if def.support == Support::KnownUnused { ", without effect" } else { "" };
    let _ = writeln!(out, "{key}={shown}    # {source}{unset}{unused}");
}

/// Settings of plug-ins may be secrets, so that their values are not shown.
fn extra(out: &mut String, key: &str, settings: &Settings) {
    if let Some(set) = settings.own(key) {
        let _ = writeln!(out, "{key}={HIDDEN}    # {}, without effect", set.source);
    }
}
