//! The committed counts, what may differ from them, and what may not be exceeded at all.

use std::error::Error;
use std::fmt::Write;

use crate::callgrind::Count;

/// Percent by which a figure may grow, or shrink, before the baseline has to follow.
const TOLERATED: u64 = 5;

/// What a stage may cost at most, once the baseline keeps to it; until then it is told.
struct Budget {
    stage: &'static str,
    instructions_per_event: u64,
    allocations: u64,
}

const BUDGETS: [Budget; 4] = [
    Budget { stage: "whole path of a page", instructions_per_event: 9_000, allocations: 4 },
    Budget { stage: "whole path of a page with id", instructions_per_event: 9_000, allocations: 4 },
    Budget { stage: "whole path of a batch", instructions_per_event: 4_000, allocations: 12 },
    Budget { stage: "whole path of a batch with ids", instructions_per_event: 4_000, allocations: 12 },
];

/// The counts as they are committed.
pub(super) fn table(counts: &[Count], processor: &str) -> String {
    let mut table = format!(
        "counted on: {processor}\n{:<32}{:>8}{:>14}{:>12}{:>13}{:>11}\n",
        "stage", "events", "instructions", "mean", "allocations", "per event"
    );
    for count in counts {
        let Count { stage, events, instructions, mean, allocations } = count;
        let per_event = count.per_event();
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "{stage:<32}{events:>8}{instructions:>14}{mean:>12}{allocations:>13}{per_event:>11}"
        );
    }
    table
}

/// The processor that a [`table`] was counted on: another one may run other instructions for the same work.
pub(super) fn processor(table: &str) -> &str {
    table.lines().next().and_then(|line| line.strip_prefix("counted on: ")).unwrap_or_default()
}

/// Reads a [`table`].
pub(super) fn parse(table: &str) -> Result<Vec<Count>, Box<dyn Error>> {
    let mut counts = Vec::new();
    for line in table.lines().skip(2) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((stage, [events, instructions, mean, allocations, _])) = words.split_last_chunk() else {
            return Err(format!("no stage and five figures: {line}").into());
        };
        counts.push(Count {
            stage: stage.join(" "),
            events: events.parse()?,
            instructions: instructions.parse()?,
            mean: mean.parse()?,
            allocations: allocations.parse()?,
        });
    }
    Ok(counts)
}

/// What there is to tell of the counts beside the baseline's, and whether they may stand.
pub(super) fn compare(before: &[Count], now: &[Count]) -> (String, bool) {
    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for count in now {
        let stage = &count.stage;
        let Some(old) = before.iter().find(|old| old.stage == *stage) else {
            worse.push(format!("{stage}: not in the baseline"));
            continue;
        };
        for (what, old, new) in [
            ("instructions", old.instructions, count.instructions),
            ("instructions in the mean", old.mean, count.mean),
            ("allocations", old.allocations, count.allocations),
        ] {
            let change = format!("{stage}: {what} {old} → {new}, {}", percent(old, new));
            if new * 100 > old * (100 + TOLERATED) {
                worse.push(change);
            } else if new * 100 < old * (100 - TOLERATED) {
                better.push(change);
            }
        }
    }
    for old in before.iter().filter(|old| now.iter().all(|count| count.stage != old.stage)) {
        worse.push(format!("{}: in the baseline, but no longer counted", old.stage));
    }
    let mut over = Vec::new();
    for budget in &BUDGETS {
        match (budget.exceeded_by(before), budget.exceeded_by(now)) {
            (_, None) => {}
            (None, Some(excess)) => worse.push(excess),
            (Some(_), Some(excess)) => over.push(excess),
        }
    }
    let told = [
        tell("Over the budget, as the baseline is", &over),
        tell("Better than the baseline: `make baseline` keeps it so", &better),
        tell("Worse than the baseline: if that is worth it, say why and `make baseline`", &worse),
    ];
    (told.concat(), worse.is_empty())
}

impl Budget {
    fn exceeded_by(&self, counts: &[Count]) -> Option<String> {
        let Self { stage, instructions_per_event, allocations } = self;
        let count = counts.iter().find(|count| count.stage == *stage)?;
        let within = count.per_event() <= *instructions_per_event && count.allocations <= *allocations;
        let excess = || {
            format!(
                "{stage}: {} instructions per event and {} allocations; at most {instructions_per_event} and {allocations}",
                count.per_event(),
                count.allocations,
            )
        };
        (!within).then(excess)
    }
}

fn percent(old: u64, new: u64) -> String {
    let (sign, difference) = if new < old { ('-', old - new) } else { ('+', new - old) };
    match (difference * 1_000).checked_div(old) {
        Some(tenths) => format!("{sign}{}.{} %", tenths / 10, tenths % 10),
        None => "from none".to_owned(),
    }
}

fn tell(title: &str, lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!("\n{title}:\n  {}\n", lines.join("\n  ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(stage: &str, figure: u64) -> Count {
        Count { stage: stage.to_owned(), events: 1, instructions: figure, mean: figure, allocations: 2 }
    }

    #[test]
    fn a_table_reads_back() {
        let counts = [count("decode a page", 7_534), count("read a segment", 0)];
        let table = table(&counts, "Some Processor 7");
        assert_eq!(parse(&table).unwrap(), counts);
        assert_eq!(processor(&table), "Some Processor 7");
    }

    #[test]
    fn only_growth_beyond_what_is_tolerated_fails() {
        for (now, within, word) in
            [(950, true, ""), (1_050, true, ""), (940, true, "-6.0 %"), (1_060, false, "+6.0 %")]
        {
            let (told, stands) = compare(&[count("decode", 1_000)], &[count("decode", now)]);
            assert_eq!(stands, within, "{now}");
            assert!(told.contains(word) && told.is_empty() == word.is_empty(), "{now}: {told}");
        }
    }

    #[test]
    fn a_stage_that_comes_or_goes_fails() {
        assert!(!compare(&[], &[count("decode", 1)]).1);
        assert!(!compare(&[count("decode", 1)], &[]).1);
    }

    #[test]
    fn a_budget_once_kept_must_be_kept() {
        let page = |figure| [count("whole path of a page", figure)];
        assert!(compare(&page(9_000), &page(9_000)).1);
        let (told, stands) = compare(&page(9_000), &page(9_001));
        assert!(!stands && told.contains("at most 9000"), "{told}");
        let (told, stands) = compare(&page(9_101), &page(9_100));
        assert!(stands && told.contains("at most 9000"), "{told}");
    }
}
