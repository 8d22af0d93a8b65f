//! `weir journal inspect`: a segment's rows, for people.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::journal::{Item, Look, RecordHead, TableHead, look_into};
use crate::row::{Layout, LayoutError};

/// How the rows of a segment's tables are read.
struct Tables(BTreeMap<u8, (String, Result<Layout, LayoutError>)>);

/// Prints every row that can be read; what cannot is told on standard error, and fails in the end.
pub(super) fn show(path: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let shown = path.display();
    let Look { mut reader, has_head, .. } =
        look_into(path).with_context(|| format!("cannot read the segment {shown}"))?;
    let mut wrong = 0;
    let mut tell = |what: String| {
        eprintln!("weir: {shown}: {what}");
        wrong += 1;
    };
    if !has_head {
        tell("its head is damaged: rows are read as this version writes them".to_owned());
    }
    let tables = Tables::new(&reader.head().tables);
    let mut out = BufWriter::new(out);
    loop {
        let position = reader.position();
        match reader.next_item().with_context(|| format!("cannot read the segment {shown}"))? {
            Item::Record(record, rows) => {
                if let Err(error) = tables.print(&record, rows, &mut out)? {
                    tell(format!("rows of the record at byte {position} are left out: {error}"));
                }
            }
            Item::Damage { bytes, records } => tell(format!(
                "{bytes} bytes from byte {position} on are damaged, {records} records among them"
            )),
            Item::End { bytes: 0, .. } => break,
            Item::End { bytes, .. } => {
                tell(format!("the last {bytes} bytes, from byte {position} on, are no whole record"));
                break;
            }
        }
    }
    out.flush()?;
    if wrong > 0 {
        bail!("not everything in {shown} could be read");
    }
    Ok(())
}

impl Tables {
    fn new(heads: &[TableHead]) -> Self {
        let table = |head: &TableHead| (head.tag, (head.name.clone(), Layout::parse(&head.header)));
        Self(heads.iter().map(table).collect())
    }

    /// Prints a record's rows up to the first that cannot be told from the others. The outer result is the output's.
    fn print(
        &self,
        record: &RecordHead,
        mut rows: &[u8],
        out: &mut impl Write,
    ) -> std::io::Result<Result<(), String>> {
        let Some((name, layout)) = self.0.get(&record.tag) else {
            return Ok(Err(format!("no table has the number {}", record.tag)));
        };
        let layout = match layout {
            Ok(layout) => layout,
            Err(error) => return Ok(Err(error.to_string())),
        };
        while !rows.is_empty() {
            match layout.take_row(&mut rows).and_then(|row| layout.to_json(row)) {
                Ok(row) => writeln!(out, r#"{{"table":"{name}","row":{row}}}"#)?,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(()))
    }
}
