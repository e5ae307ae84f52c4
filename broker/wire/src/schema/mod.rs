//! The shape of each request, as far as one must know it to walk over its
//! bytes: what the crate reads, in which versions, in which order.
//!
//! A test writes random messages after these shapes and has the crate read
//! them, so that the two cannot drift apart.

mod admin;
mod data;
mod groups;
mod rights;

use std::sync::LazyLock;

/// Upper end of a range of versions that is still open.
pub(crate) const LAST: i16 = i16::MAX;

/// First flexible version of an API that has none.
pub(crate) const NEVER: i16 = i16::MAX;

/// API numbers, with room for those to come.
const KEYS: usize = 128;

/// One request.
#[derive(Debug)]
pub(crate) struct Schema {
    pub api_key: i16,
    /// First version with compact lengths and tagged fields.
    pub flexible_from: i16,
    pub fields: &'static [Field],
}

/// One field and the versions that have it.
#[derive(Debug)]
pub(crate) struct Field {
    pub kind: Kind,
    first: i16,
    last: i16,
    /// Number of a field that travels among the tagged ones.
    pub tag: Option<u32>,
}

/// What a field's bytes look like.
#[derive(Debug)]
pub(crate) enum Kind {
    /// This many bytes.
    Fixed(usize),
    /// Length of 16 bits, or compact.
    String,
    /// Length of 32 bits, or compact.
    Bytes,
    /// Structures, each with its tagged fields.
    Array(&'static [Field]),
    /// Values of this many bytes each.
    Items(usize),
    /// Strings.
    Strings,
    /// One structure with its tagged fields.
    Group(&'static [Field]),
    /// The same behind a byte that says whether it is there.
    Optional(&'static [Field]),
}

impl Field {
    pub fn is_in(&self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }

    const fn new(kind: Kind, first: i16, last: i16) -> Self {
        Self { kind, first, last, tag: None }
    }

    const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }
}

const fn fixed(len: usize, first: i16, last: i16) -> Field {
    Field::new(Kind::Fixed(len), first, last)
}

const fn string(first: i16, last: i16) -> Field {
    Field::new(Kind::String, first, last)
}

const fn bytes(first: i16, last: i16) -> Field {
    Field::new(Kind::Bytes, first, last)
}

const fn array(first: i16, last: i16, fields: &'static [Field]) -> Field {
    Field::new(Kind::Array(fields), first, last)
}

const fn items(len: usize, first: i16, last: i16) -> Field {
    Field::new(Kind::Items(len), first, last)
}

const fn strings(first: i16, last: i16) -> Field {
    Field::new(Kind::Strings, first, last)
}

const fn group(first: i16, last: i16, fields: &'static [Field]) -> Field {
    Field::new(Kind::Group(fields), first, last)
}

const fn optional(first: i16, last: i16, fields: &'static [Field]) -> Field {
    Field::new(Kind::Optional(fields), first, last)
}

static INDEX: LazyLock<[Option<&'static Schema>; KEYS]> = LazyLock::new(|| {
    let mut index = [None; KEYS];
    for schema in [data::SCHEMAS, groups::SCHEMAS, admin::SCHEMAS, rights::SCHEMAS].into_iter().flatten() {
        index[schema.api_key as usize] = Some(schema);
    }
    index
});

/// The shape of an API's requests. Produce has none: it has its own decoder.
pub(crate) fn of(api_key: i16) -> Option<&'static Schema> {
    INDEX.get(usize::try_from(api_key).ok()?).copied().flatten()
}
