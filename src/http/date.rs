//! Dates as HTTP writes them.

use std::{
    cell::RefCell,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// A time as HTTP writes it (RFC 9110, section 5.6.7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Date(u64);

thread_local! {
    /// The last date that this thread wrote: many responses fall into the same second.
    static LAST_DATE: RefCell<(Date, String)> = const { RefCell::new((Date(0), String::new())) };
}

impl Date {
    /// Passes the date to `take` as text.
    pub(super) fn with(self, take: impl FnOnce(&str)) {
        LAST_DATE.with_borrow_mut(|(date, text)| {
            if *date != self || text.is_empty() {
                (*date, *text) = (self, self.to_string());
            }
            take(text);
        });
    }

    pub(super) fn now() -> Self {
        // A clock before 1970 means that the host has no clock; then the date is 1970.
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
        const DAYS_BEFORE_MONTH: [u64; 12] =
            [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // A year that begins in March has its leap day at the end; 400 such years are 146,097 days.
        // 719,468 days lie between March of the year 0 and 1970.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = DAYS_BEFORE_MONTH.iter().rposition(|&before| before <= day).unwrap_or(0);
        let day = day - DAYS_BEFORE_MONTH[month] + 1;
        let year = era * 400 + year + u64::from(month >= 10);
        let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or(0)];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let month = MONTHS[month];
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Made with `date -u -R -d @…`.
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (68_169_599, "Mon, 28 Feb 1972 23:59:59 GMT"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (978_307_199, "Sun, 31 Dec 2000 23:59:59 GMT"),
            (1_795_376_096, "Sun, 22 Nov 2026 19:34:56 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(Date(seconds).to_string(), date);
        }
    }
}
