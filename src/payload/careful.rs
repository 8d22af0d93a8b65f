//! The careful pass: reads a body that the strict one gave up on, field by field, and says what is wrong where.
//! An event that is wrong is rejected alone.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::error::{Fault, PayloadError};
use super::fields::{self, Fields, fits, listed};
use super::wire::{Field, Snippet, WireEvent, WireShared};
use super::{Decoded, Rejected, check};
use crate::event::{Event, PayloadLimits, Source};

/// What a body is to be.
pub(super) const EXPECTED: &str = "one JSON object";

/// Decodes a body of either format.
pub(super) fn decode<'a>(body: &'a str, limits: &PayloadLimits) -> Result<Decoded<'a>, PayloadError> {
    let (fields, project_key) = open(body).map_err(|fault| PayloadError::new(fault, None))?;
    let known = project_key.clone();
    let decoded = match fields.value(Field::Events) {
        Ok(None) => Ok(snippet(body, &fields, project_key, limits)),
        Ok(Some(events)) => batch(&fields, events, project_key, limits),
        Err(fault) => Err(fault),
    };
    decoded.map_err(|fault| PayloadError::new(fault, Some(&known)))
}

/// The body's fields, and the one without which nobody can be told about the others.
fn open(body: &str) -> Result<(Fields<'_>, Cow<'_, str>), Fault> {
    let fields = Fields::of(fields::value(body, EXPECTED)?, Field::named)?;
    let project_key = check::required(Field::ProjectKey, fields.text(Field::ProjectKey)?)?;
    Ok((fields, project_key))
}

fn snippet<'a>(
    body: &'a str,
    fields: &Fields<'a>,
    project_key: Cow<'a, str>,
    limits: &PayloadLimits,
) -> Decoded<'a> {
    let mut decoded = Decoded {
        project_key: project_key.clone(),
        batch: false,
        source: Source::Snippet,
        sent_at: None,
        events: Vec::new(),
        rejected: Vec::new(),
    };
    let event = fits(body, limits).and_then(|()| {
        let wire = Snippet { project_key, sent_at: fields.text(Field::SentAt)?, event: fields.event()? };
        check::snippet(wire, limits)
    });
    match event {
        Ok((event, sent_at)) => {
            decoded.sent_at = sent_at;
            decoded.events.push(event);
        }
        Err(fault) => decoded.rejected.push(Rejected::new(false, 0, &fault, body)),
    }
    decoded
}

fn batch<'a>(
    fields: &Fields<'a>,
    events: &'a RawValue,
    project_key: Cow<'a, str>,
    limits: &PayloadLimits,
) -> Result<Decoded<'a>, Fault> {
    let listed = listed(Field::Events, events, limits.events)?;
    let shared = check::shared(fields.shared()?, limits)?;
    shared.check_repeated(listed.len(), limits)?;
    let (mut events, mut rejected) = (Vec::with_capacity(listed.len()), Vec::new());
    for (index, json) in listed.into_iter().enumerate() {
        let event: Result<Event<'_>, Fault> = fits(json.get(), limits)
            .and_then(|()| check::batched(&mut Fields::of(json, Field::named)?.event()?, &shared, limits));
        match event {
            Ok(event) => events.push(event),
            Err(fault) => rejected.push(Rejected::new(true, index, &fault, json.get())),
        }
    }
    Ok(Decoded { project_key, batch: true, source: shared.source, sent_at: shared.sent_at, events, rejected })
}

impl<'a> Fields<'a> {
    fn event(&self) -> Result<WireEvent<'a>, Fault> {
        Ok(WireEvent {
            kind: self.text(Field::Type)?,
            url: self.text(Field::Url)?,
            visitor_id: self.text(Field::VisitorId)?,
            user_id: self.text(Field::UserId)?,
            referrer: self.text(Field::Referrer)?,
            timestamp: self.text(Field::Timestamp)?,
            event_id: self.text(Field::EventId)?,
            data: self.value(Field::Data)?.map(RawValue::get),
        })
    }

    fn shared(&self) -> Result<WireShared<'a>, Fault> {
        Ok(WireShared {
            sent_at: self.text(Field::SentAt)?,
            source: self.text(Field::Source)?,
            visitor_id: self.text(Field::VisitorId)?,
            user_id: self.text(Field::UserId)?,
            referrer: self.text(Field::Referrer)?,
        })
    }
}
