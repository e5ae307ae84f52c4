//! Parsing and checking single values, as `ConfigDef.parseType` and the validators of Kafka's definitions do.

use super::def::{Check, ConfigDef, Kind, Support};

/// Longest value of a setting in characters (`ConfigurationControlManager`).
pub const MAX_VALUE_CHARS: usize = 32_767;

/// Why a value is not acceptable; the text stands alone after "Invalid value … for configuration …: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub String);

fn invalid<T>(why: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(why.into()))
}

/// Items of a list value: separated by commas, surrounding blanks dropped; an empty value is an empty list.
pub fn list_items(value: &str) -> Vec<&str> {
    let value = value.trim();
    if value.is_empty() { Vec::new() } else { value.split(',').map(str::trim).collect() }
}

/// Boolean as Kafka reads it: `true` or `false`, any case.
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Checks type and limits of `value`, not whether Millrace serves it.
pub fn check_value(def: &ConfigDef, value: &str) -> Result<(), Invalid> {
    match def.kind {
        Kind::Bool => match parse_bool(value) {
            Some(_) => Ok(()),
            None => invalid("must be true or false"),
        },
        Kind::Int => check_number(def, value, i64::from(i32::MIN), i64::from(i32::MAX), "a 32-bit integer"),
        Kind::Short => check_number(def, value, i64::from(i16::MIN), i64::from(i16::MAX), "a 16-bit integer"),
        Kind::Long => check_number(def, value, i64::MIN, i64::MAX, "a 64-bit integer"),
        Kind::Double => check_double(def, value),
        Kind::List => check_list(def, value),
        Kind::String | Kind::Class | Kind::Password => check_string(def, value.trim()),
    }
}

/// Refuses values that are legal in Kafka but that Millrace does not serve, with the reason.
pub fn check_support(def: &ConfigDef, value: &str) -> Result<(), Invalid> {
    let Support::Only(allowed, why) = def.support else {
        return Ok(());
    };
    let ok = match def.kind {
        Kind::List => list_items(value).iter().all(|item| allowed.contains(item)),
        _ => allowed.iter().any(|a| a.eq_ignore_ascii_case(value.trim())),
    };
    if ok { Ok(()) } else { invalid(why) }
}

fn check_number(def: &ConfigDef, value: &str, lowest: i64, highest: i64, what: &str) -> Result<(), Invalid> {
    let Some(n) = value.trim().parse::<i64>().ok().filter(|n| (lowest..=highest).contains(n)) else {
        return invalid(format!("not {what}"));
    };
    match def.check {
        Check::AtLeast(least) if n < least => invalid(format!("must be at least {least}")),
        Check::Between(lo, hi) if n < lo || n > hi => invalid(format!("must be between {lo} and {hi}")),
        Check::BetweenOr(lo, hi, or) if n != or && (n < lo || n > hi) => {
            invalid(format!("must be between {lo} and {hi}, or {or}"))
        }
        _ => Ok(()),
    }
}

fn check_double(def: &ConfigDef, value: &str) -> Result<(), Invalid> {
    let Ok(x) = value.trim().parse::<f64>() else {
        return invalid("not a number");
    };
    match def.check {
        Check::Ratio(lo, hi) if !(lo..=hi).contains(&x) => invalid(format!("must be between {lo} and {hi}")),
        _ if x.is_nan() => invalid("not a number"),
        _ => Ok(()),
    }
}

fn check_list(def: &ConfigDef, value: &str) -> Result<(), Invalid> {
    let items = list_items(value);
    if let Check::ThrottledReplicas = def.check {
        return check_throttled(&items);
    }
    for (i, item) in items.iter().enumerate() {
        if item.is_empty() {
            return invalid("the list has an empty item");
        }
        if items[..i].contains(item) {
            return invalid(format!("{item} is listed twice"));
        }
    }
    match def.check {
        Check::ListOf(words, may_be_empty) => {
            if let Some(item) = items.iter().find(|item| !words.contains(item)) {
                return invalid(format!("{item} is not one of {}", words.join(", ")));
            }
            if items.is_empty() && !may_be_empty { invalid("must not be empty") } else { Ok(()) }
        }
        Check::Distinct(false) if items.is_empty() => invalid("must not be empty"),
        _ => Ok(()),
    }
}

fn check_throttled(items: &[&str]) -> Result<(), Invalid> {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let pair = |s: &&str| s.split_once(':').is_some_and(|(p, b)| number(p) && number(b));
    if items == ["*"] || items.iter().all(pair) {
        Ok(())
    } else {
        invalid("must be * or a list of partition:broker pairs")
    }
}

fn check_string(def: &ConfigDef, value: &str) -> Result<(), Invalid> {
    match def.check {
        Check::OneOf(words) if !words.contains(&value) => invalid(format!("must be one of {}", words.join(", "))),
        Check::OneOfAnyCase(words) if !words.iter().any(|w| w.eq_ignore_ascii_case(value)) => {
            invalid(format!("must be one of {}", words.join(", ")))
        }
        Check::NonEmpty if value.is_empty() => invalid("must not be empty"),
        Check::ShareOffsetReset if !is_share_reset(value) => {
            invalid("must be latest, earliest or by_duration: followed by an ISO 8601 duration such as PT1H")
        }
        _ => Ok(()),
    }
}

fn is_share_reset(value: &str) -> bool {
    value == "latest" || value == "earliest" || value.strip_prefix("by_duration:").is_some_and(is_duration)
}

/// `PnDTnHnMn.nS` with at least one part, not negative (`java.time.Duration.parse`).
fn is_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(body) = upper.strip_prefix('P') else {
        return false;
    };
    let (days, time) = match body.split_once('T') {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (body, ""),
    };
    let days_ok = days.is_empty() || days.strip_suffix('D').is_some_and(is_digits);
    days_ok && !(days.is_empty() && time.is_empty()) && is_time_part(time)
}

fn is_time_part(mut rest: &str) -> bool {
    for (unit, fraction) in [('H', false), ('M', false), ('S', true)] {
        if let Some((number, after)) = rest.split_once(unit) {
            let ok = match number.split_once('.') {
                Some((whole, part)) if fraction => is_digits(whole) && part.len() <= 9 && is_digits(part),
                Some(_) => false,
                None => is_digits(number),
            };
            if !ok {
                return false;
            }
            rest = after;
        }
    }
    rest.is_empty()
}

fn is_digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}
