//! A table of `weir.toml` that is read key by key: whatever nobody asked for is a mistake of spelling.

use toml::{Table, Value};

/// What is left to be read of a table.
pub(super) struct Block {
    table: Table,
    /// Before the keys in messages.
    prefix: String,
    /// The keys that were asked for.
    known: Vec<String>,
}

impl Block {
    pub(super) fn new(table: Table) -> Self {
        Self { table, prefix: String::new(), known: Vec::new() }
    }

    /// The same; its messages name this key before its own.
    pub(super) fn within(self, key: &str) -> Self {
        Self { prefix: format!("{key}."), ..self }
    }

    fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        self.known.push(key.to_owned());
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| format!("{}{key}: expected {expected}", self.prefix))
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        self.take(key, "a text that is not empty", text)
    }

    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, String> {
        self.take(key, "a list of texts that are not empty", |value| match value {
            Value::Array(items) => items.into_iter().map(text).collect(),
            _ => None,
        })
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        self.take(key, "true or false", |value| value.as_bool())
    }

    pub(super) fn count(&mut self, key: &str, most: u32) -> Result<Option<u32>, String> {
        self.take(key, &format!("a whole number from 1 to {most}"), |value| {
            let count = u32::try_from(value.as_integer()?).ok()?;
            (1..=most).contains(&count).then_some(count)
        })
    }

    pub(super) fn table(&mut self, key: &str) -> Result<Option<Table>, String> {
        self.take(key, "a table, as { … }", |value| match value {
            Value::Table(table) => Some(table),
            _ => None,
        })
    }

    /// Everything has to have been read.
    pub(super) fn finish(self) -> Result<(), String> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        Err(format!("{}{key}: no such key, expected one of {}", self.prefix, self.known.join(", ")))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    }
}
