//! Kafka's fixed-size encodings.

use anyhow::Context;

/// Appends primitives in network order.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }
    pub fn with_capacity(n: usize) -> Writer {
        Writer(Vec::with_capacity(n))
    }
    pub fn i8(&mut self, v: i8) -> &mut Self {
        self.bytes_raw(&v.to_be_bytes())
    }
    pub fn i16(&mut self, v: i16) -> &mut Self {
        self.bytes_raw(&v.to_be_bytes())
    }
    pub fn i32(&mut self, v: i32) -> &mut Self {
        self.bytes_raw(&v.to_be_bytes())
    }
    pub fn i64(&mut self, v: i64) -> &mut Self {
        self.bytes_raw(&v.to_be_bytes())
    }
    pub fn bool(&mut self, v: bool) -> &mut Self {
        self.i8(i8::from(v))
    }
    pub fn string(&mut self, v: &str) -> &mut Self {
        self.i16(v.len() as i16).bytes_raw(v.as_bytes())
    }
    /// A nullable string that is null.
    pub fn null_string(&mut self) -> &mut Self {
        self.i16(-1)
    }
    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.i32(v.len() as i32).bytes_raw(v)
    }
    pub fn bytes_raw(&mut self, v: &[u8]) -> &mut Self {
        self.0.extend_from_slice(v);
        self
    }
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Reads what [`Writer`] writes.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }
    pub fn take(&mut self, n: usize) -> anyhow::Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).context("answer is too short")?;
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }
    pub fn i8(&mut self) -> anyhow::Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }
    pub fn i16(&mut self) -> anyhow::Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }
    pub fn i32(&mut self) -> anyhow::Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }
    pub fn i64(&mut self) -> anyhow::Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }
    pub fn bool(&mut self) -> anyhow::Result<bool> {
        Ok(self.i8()? != 0)
    }
    /// A nullable string.
    pub fn opt_string(&mut self) -> anyhow::Result<Option<String>> {
        let n = self.i16()?;
        match usize::try_from(n) {
            Ok(n) => Ok(Some(String::from_utf8(self.take(n)?.to_vec())?)),
            Err(_) => Ok(None),
        }
    }
    pub fn string(&mut self) -> anyhow::Result<String> {
        self.opt_string()?.context("null string")
    }
    /// Nullable bytes; null reads as empty.
    pub fn bytes(&mut self) -> anyhow::Result<&'a [u8]> {
        let n = self.i32()?;
        self.take(usize::try_from(n).unwrap_or(0))
    }
    /// Reads an array; null reads as empty.
    pub fn array_of<T>(&mut self, mut item: impl FnMut(&mut Self) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
        let n = self.i32()?;
        (0..n.max(0)).map(|_| item(self)).collect()
    }
    pub fn remaining(&self) -> usize {
        self.0.len()
    }
}
