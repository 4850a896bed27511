//! Dates for `strftime_now`: seconds since 1970 as a proleptic Gregorian date, formatted as C's strftime does in
//! English.

/// What cannot be formatted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DateError {
    #[error("expected a directive such as %Y, got %{0}")]
    UnknownDirective(char),
    #[error("expected a directive after %, got the end of the format")]
    OpenDirective,
    #[error("expected a year from 0 to 9999, got the time {0}")]
    OutOfRange(i64),
}

/// 0000-01-01 and 9999-12-31 23:59:59.
const SECONDS_RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const SECONDS_PER_DAY: i64 = 86_400;

/// A moment in parts.
struct Moment {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
    /// 1 to 366.
    day_of_year: i64,
    /// 0 is Sunday.
    weekday: i64,
    second_of_day: i64,
}

/// Formats seconds since 1970-01-01 00:00.
pub(super) fn format(seconds: i64, format: &str) -> Result<String, DateError> {
    if !SECONDS_RANGE.contains(&seconds) {
        return Err(DateError::OutOfRange(seconds));
    }
    let moment = Moment::from_seconds(seconds);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            out += &moment.directive(&mut chars)?;
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

impl Moment {
    fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let mut day_of_year = days;
        let mut year = 1970;
        // A Gregorian cycle of 400 years has 146097 days; what is left takes at most 400 steps.
        year += 400 * day_of_year.div_euclid(146_097);
        day_of_year = day_of_year.rem_euclid(146_097);
        while day_of_year >= days_in_year(year) {
            day_of_year -= days_in_year(year);
            year += 1;
        }
        let (mut month, mut day) = (1, day_of_year);
        while day >= days_in_month(year, month) {
            day -= days_in_month(year, month);
            month += 1;
        }
        Self {
            year,
            month,
            day: day + 1,
            day_of_year: day_of_year + 1,
            // 1970-01-01 was a Thursday.
            weekday: (days + 4).rem_euclid(7),
            second_of_day: seconds.rem_euclid(SECONDS_PER_DAY),
        }
    }

    fn directive(&self, rest: &mut std::str::Chars<'_>) -> Result<String, DateError> {
        let (hour, minute) = (self.second_of_day / 3600, self.second_of_day / 60 % 60);
        let second = self.second_of_day % 60;
        let hour12 = (hour + 11) % 12 + 1;
        Ok(match rest.next().ok_or(DateError::OpenDirective)? {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'H' => format!("{hour:02}"),
            'I' => format!("{hour12:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            'B' => name(&MONTHS, self.month - 1).to_owned(),
            'b' | 'h' => name(&MONTHS, self.month - 1)[..3].to_owned(),
            'A' => name(&WEEKDAYS, self.weekday).to_owned(),
            'a' => name(&WEEKDAYS, self.weekday)[..3].to_owned(),
            'w' => self.weekday.to_string(),
            'u' => ((self.weekday + 6) % 7 + 1).to_string(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'D' => format!("{:02}/{:02}/{:02}", self.month, self.day, self.year % 100),
            'R' => format!("{hour:02}:{minute:02}"),
            '%' => "%".to_owned(),
            // The platform's "no padding" flag.
            '-' => {
                let padded = self.directive(rest)?;
                let bare = padded.trim_start_matches(['0', ' ']);
                let is_number = padded.starts_with(|c: char| c.is_ascii_digit() || c == ' ');
                let lost_its_zero = is_number && !bare.starts_with(|c: char| c.is_ascii_digit());
                if lost_its_zero { format!("0{bare}") } else { bare.to_owned() }
            }
            other => return Err(DateError::UnknownDirective(other)),
        })
    }
}

fn name<'a>(names: &[&'a str], idx: i64) -> &'a str {
    names[usize::try_from(idx).expect("months and weekdays are counted from 0")]
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_year(year: i64) -> i64 {
    365 + i64::from(is_leap(year))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::{DateError, format};

    #[test]
    fn template_dates_match_known_moments() {
        let cases = [
            (0, "%Y-%m-%d %H:%M:%S", "1970-01-01 00:00:00"),
            (0, "%A %a %w %u %j", "Thursday Thu 4 4 001"),
            (0, "%-I:%-M %-p %-B %-j %-R", "12:0 AM January 1 0:00"),
            (951_782_399, "%d %b %Y %j", "28 Feb 2000 059"),
            (951_782_400, "%B %d, %Y", "February 29, 2000"),
            (4_107_542_400, "%F %A", "2100-03-01 Monday"),
            (-1, "%F %T", "1969-12-31 23:59:59"),
            (1_763_715_600, "%d %B %Y %I:%M %p, %a", "21 November 2025 09:00 AM, Fri"),
            (1_767_225_600, "%-d/%-m/%y %e|%-H", "1/1/26  1|0"),
            (253_402_300_799, "%F %R %D %% %h", "9999-12-31 23:59 12/31/99 % Dec"),
        ];
        for (seconds, pattern, expected) in cases {
            assert_eq!(format(seconds, pattern).as_deref(), Ok(expected), "{seconds} {pattern}");
        }
    }

    #[test]
    fn template_dates_refuse_what_they_do_not_know() {
        let cases = [
            (0, "%Q", DateError::UnknownDirective('Q')),
            (0, "at %", DateError::OpenDirective),
            (i64::MAX, "%Y", DateError::OutOfRange(i64::MAX)),
        ];
        for (seconds, pattern, expected) in cases {
            assert_eq!(format(seconds, pattern), Err(expected), "{seconds} {pattern}");
        }
    }
}
