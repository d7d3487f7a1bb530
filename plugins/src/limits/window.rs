//! Windows of time: they begin with the clock's second, minute, hour, day, month and year, in UTC
//! (`kong/tools/timestamp.lua`).

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// How long a limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

impl Period {
    /// All, the shortest first.
    pub(crate) const ALL: [Period; 6] =
        [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month, Period::Year];

    /// As configurations and keys name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Period::Second => "second",
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
            Period::Year => "year",
        }
    }
}

/// A window of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Its number: greater than that of any earlier window of the same period.
    pub(crate) number: u64,
    /// When it began, in seconds since 1970.
    pub(crate) start: u64,
    /// When it ends and the next begins.
    pub(crate) end: u64,
}

/// A moment, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn of(time: SystemTime) -> Moment {
        Moment(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// The window that it lies in.
    pub(crate) fn window(self, period: Period) -> Window {
        let even = |length: u64| {
            let number = self.0 / length;
            Window { number, start: number * length, end: (number + 1) * length }
        };
        match period {
            Period::Second => even(1),
            Period::Minute => even(60),
            Period::Hour => even(3_600),
            Period::Day => even(DAY),
            Period::Month => {
                let (year, month) = self.month();
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                let (start, end) = (begin_of(year, month), begin_of(next.0, next.1));
                Window { number: year * 12 + month, start, end }
            }
            Period::Year => {
                let (year, _) = self.month();
                Window { number: year, start: begin_of(year, 1), end: begin_of(year + 1, 1) }
            }
        }
    }

    /// The year and the month, 1 to 12, of the Gregorian calendar.
    fn month(self) -> (u64, u64) {
        // Years that begin in March have their leap day at the end.
        let days = self.0 / DAY + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        (era * 400 + year_of_era + u64::from(month <= 2), month)
    }
}

/// The first second of a month.
fn begin_of(year: u64, month: u64) -> u64 {
    let (year, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * from_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468) * DAY
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn windows_are_those_of_the_calendar() {
        let check = |moment: u64, period: Period, start: &str, end: &str| {
            let show = |seconds: u64| {
                let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
                date.trim_start_matches(|c| c != ' ').trim_end_matches(" GMT").trim().to_owned()
            };
            let window = Moment(moment).window(period);
            let shown = (show(window.start), show(window.end));
            assert_eq!(shown, (start.to_owned(), end.to_owned()), "{moment} {period:?}");
        };
        use Period::{Day, Hour, Minute, Month, Second, Year};
        let time = 1_709_251_198;
        check(time, Second, "29 Feb 2024 23:59:58", "29 Feb 2024 23:59:59");
        check(time, Minute, "29 Feb 2024 23:59:00", "01 Mar 2024 00:00:00");
        check(time, Hour, "29 Feb 2024 23:00:00", "01 Mar 2024 00:00:00");
        check(time, Day, "29 Feb 2024 00:00:00", "01 Mar 2024 00:00:00");
        check(time, Month, "01 Feb 2024 00:00:00", "01 Mar 2024 00:00:00");
        check(time, Year, "01 Jan 2024 00:00:00", "01 Jan 2025 00:00:00");
        let last = 4_102_401_600;
        check(last, Month, "01 Dec 2099 00:00:00", "01 Jan 2100 00:00:00");
        check(last, Year, "01 Jan 2099 00:00:00", "01 Jan 2100 00:00:00");
        check(0, Year, "01 Jan 1970 00:00:00", "01 Jan 1971 00:00:00");
    }

    #[test]
    fn numbers_grow() {
        for period in Period::ALL {
            let mut last = 0;
            for moment in (0..2_000_000_000_u64).step_by(1_000_003) {
                let window = Moment(moment).window(period);
                assert!(window.start <= moment && moment < window.end, "{period:?} {moment}");
                assert!(window.number >= last, "{period:?} {moment}");
                last = window.number;
            }
        }
    }
}
