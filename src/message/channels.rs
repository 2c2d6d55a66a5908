//! [`Channels`]: to which channels a client listens, as the program says it.

use std::{any::Any, fmt, sync::Arc, time::SystemTime};

use super::{
    MessageError,
    channel::{self, ALL, ChannelTable, TooMany},
    subscribed::Listened,
};

/// The channels that a client listens to. The server decides it, by
/// [`EventStreamHandler::channels`](crate::EventStreamHandler::channels) or
/// [`SubscriptionBuilder::channels`](crate::SubscriptionBuilder::channels); the client's event
/// types choose among the events of these channels.
///
/// ```
/// use websse::Channels;
///
/// // What is for everybody, and what is for this user.
/// let channels = Channels::new(["", "user/17"])?;
/// assert_eq!(channels.names(), ["", "user/17"]);
/// assert_eq!(Channels::default().names(), [""], "the common channel");
/// assert_eq!(Channels::all().names(), ["*"]);
/// # Ok::<(), websse::MessageError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "they do nothing until they are returned or given to a subscription"]
pub struct Channels {
    /// Sorted, without duplicates; `""` is the common channel. `None` is all channels.
    names: Option<Vec<String>>,
    attached: Attached,
    until: Option<SystemTime>,
}

impl Channels {
    /// These channels, and no others; `""` is the common one, and `*` stands for all. Without any
    /// name the client gets nothing but heartbeats.
    ///
    /// # Errors
    /// [`MessageError::Channel`] if there can be no channel of such a name.
    pub fn new<I>(names: I) -> Result<Self, MessageError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let mut all = false;
        let mut kept: Vec<String> = Vec::new();
        for name in names {
            let name = name.into();
            if name == ALL {
                all = true;
            } else {
                if !name.is_empty() {
                    channel::check(&name)?;
                }
                kept.push(name);
            }
        }
        kept.sort_unstable();
        kept.dedup();
        Ok(Self { names: (!all).then_some(kept), ..Self::all() })
    }

    /// All channels that there are and will be, for a bridge or a log for example.
    pub fn all() -> Self {
        Self { names: None, attached: Attached::default(), until: None }
    }

    /// The names, sorted: `""` is the common channel, `*` stands for all.
    pub fn names(&self) -> Vec<&str> {
        self.names.as_ref().map_or(vec![ALL], |names| names.iter().map(String::as_str).collect())
    }

    /// Attaches a value, such as the user or the session. The [hooks](crate::Builder::on_connect)
    /// find it by [`Client::attached`](crate::Client::attached).
    ///
    /// ```
    /// # use websse::Channels;
    /// struct User(u32);
    /// let channels = Channels::new(["user/17"])?.attach(User(17));
    /// # drop(channels);
    /// # Ok::<(), websse::MessageError>(())
    /// ```
    pub fn attach(self, value: impl Any + Send + Sync) -> Self {
        Self { attached: Attached(Some(Arc::new(value))), ..self }
    }

    /// How long the client may listen, for example as long as its token is valid. Its stream ends
    /// within about a second of this time, with [`Disconnect::Expired`](crate::Disconnect::Expired);
    /// one that comes too late ends at once. A browser then comes back, is asked again, and gets what
    /// it missed. By default there is no end. A change of the system's clock after the client came
    /// does not change when its stream ends.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use websse::Channels;
    ///
    /// let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    /// let channels = Channels::new(["user/17"])?.until(in_an_hour);
    /// # drop(channels);
    /// # Ok::<(), websse::MessageError>(())
    /// ```
    pub fn until(self, until: SystemTime) -> Self {
        Self { until: Some(until), ..self }
    }

    pub(crate) fn ends(&self) -> Option<SystemTime> {
        self.until
    }

    pub(crate) fn attached(&self) -> &Attached {
        &self.attached
    }

    /// The same with handles, by which the channels exist.
    pub(crate) fn listened(
        &self,
        table: &Arc<ChannelTable>,
        limit: usize,
    ) -> Result<Listened, TooMany> {
        let Some(names) = &self.names else { return Ok(Listened::All) };
        let common = names.first().is_some_and(String::is_empty);
        let others = names.iter().filter(|name| !name.is_empty());
        let handles = others.map(|name| table.get(name, limit));
        Ok(Listened::new(common, handles.collect::<Result<_, _>>()?))
    }
}

/// The common channel.
impl Default for Channels {
    fn default() -> Self {
        Self { names: Some(vec![String::new()]), ..Self::all() }
    }
}

/// A value of the program's own, which goes with a client.
#[derive(Clone, Default)]
pub(crate) struct Attached(pub(crate) Option<Arc<dyn Any + Send + Sync>>);

impl PartialEq for Attached {
    /// Whether it is the same value, not an equal one.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Attached {}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a value" } else { "nothing" })
    }
}
