//! The fields of a message that comes from outside: in a form, in JSON, or in an entry of a log.

use std::{borrow::Cow, time::Duration};

use super::{Message, MessageError, id::EventId};
use crate::decimal::is_digits;

/// The fields as text, each given at most once.
#[derive(Debug, Default)]
pub(crate) struct Fields<'t> {
    pub(crate) event: Option<Cow<'t, str>>,
    pub(crate) data: Option<Cow<'t, str>>,
    pub(crate) id: Option<Cow<'t, str>>,
    pub(crate) retry: Option<Cow<'t, str>>,
    pub(crate) channel: Option<Cow<'t, str>>,
}

/// What is wrong with a field.
#[derive(Debug)]
pub(crate) enum FieldError<'t> {
    /// A message has no field of this name.
    Unknown,
    Repeated,
    Id(MessageError),
    /// The reconnection time is not a number of milliseconds in digits (HTML standard, 9.2.6).
    Retry(Cow<'t, str>),
}

impl<'t> Fields<'t> {
    pub(crate) fn set(&mut self, name: &str, value: Cow<'t, str>) -> Result<(), FieldError<'t>> {
        let field = match name {
            "event" => &mut self.event,
            "data" => &mut self.data,
            "id" => &mut self.id,
            "retry" => &mut self.retry,
            "channel" => &mut self.channel,
            _ => return Err(FieldError::Unknown),
        };
        // Two readers could take the one or the other.
        if field.replace(value).is_some() { Err(FieldError::Repeated) } else { Ok(()) }
    }

    /// Whether none of them is given.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { event, data, id, retry, channel } = self;
        [event, data, id, retry, channel].into_iter().all(Option::is_none)
    }

    /// Without data a message is empty. An empty id is none: clients would take it as the order to
    /// forget the last one.
    pub(crate) fn into_message(self) -> Result<Message, FieldError<'t>> {
        let Self { event, data, id, retry, channel } = self;
        let mut message = Message::new(data.unwrap_or_default()).event(event.unwrap_or_default());
        message = message.channel(channel.unwrap_or_default());
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            message = message.id(EventId::new(id).map_err(FieldError::Id)?);
        }
        if let Some(retry) = retry {
            if !is_digits(&retry) {
                return Err(FieldError::Retry(retry));
            }
            // A larger number is too large in any case, which publishing reports.
            let millis = retry.parse().unwrap_or(u64::MAX);
            message = message.retry(Duration::from_millis(millis));
        }
        Ok(message)
    }
}
