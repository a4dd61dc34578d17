//! Times as AWS writes them.

use alloc::{format, string::String};

const SECOND_MS: i64 = 1000;
const DAY_S: i64 = 24 * 60 * 60;
/// The last second that four digits of a year can name: 9999-12-31T23:59:59Z.
const LAST_S: i64 = 253_402_300_799;

/// `YYYYMMDDTHHMMSSZ` in UTC. Times before 1970 or after 9999 become the nearest one that can be written.
pub(super) fn iso_basic(now_ms: i64) -> String {
    let seconds = now_ms.div_euclid(SECOND_MS).clamp(0, LAST_S);
    let (year, month, day) = civil(seconds / DAY_S);
    let of_day = seconds % DAY_S;
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Year, month and day of a count of days since 1970-01-01, by the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, in eras of 400 years, which all have
/// the same number of days.
const fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    let since_march = days + 719_468; // 0000-03-01
    let era = since_march.div_euclid(ERA_DAYS);
    let of_era = since_march.rem_euclid(ERA_DAYS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (now_ms, text) in [
            (0, "19700101T000000Z"),
            (951_782_399_999, "20000228T235959Z"),
            (951_782_400_000, "20000229T000000Z"),
            (951_868_800_000, "20000301T000000Z"),
            (1_440_938_160_000, "20150830T123600Z"),
            (4_107_542_399_000, "21000228T235959Z"),
            (4_107_542_400_000, "21000301T000000Z"),
            (LAST_S * 1000, "99991231T235959Z"),
            (i64::MAX, "99991231T235959Z"),
            (-1, "19700101T000000Z"),
            (i64::MIN, "19700101T000000Z"),
        ] {
            assert_eq!(iso_basic(now_ms), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 1..80_000 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day == last) {
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
                (_, false) => (year, month, day + 1),
            };
            assert_eq!(civil(days), (year, month, day));
        }
    }
}
