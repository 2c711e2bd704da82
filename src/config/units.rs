//! Texts with units: durations (`250ms`, `10s`, `5m`, `72h`, `5d`) and sizes (`64KiB`, `1MiB`, `10GiB`).

use std::time::Duration;

/// Why a text is not a duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    /// A number alone.
    #[error("a duration needs a unit, such as 30s")]
    DurationUnit,
    /// Anything else that is not a duration.
    #[error("expected a whole number and one of ms, s, m, h, d, such as 30s")]
    Duration,
    /// A number alone.
    #[error("a size needs a unit, such as 64KiB")]
    SizeUnit,
    /// Anything else that is not a size.
    #[error("expected a whole number and one of B, KiB, MiB, GiB, TiB, such as 64KiB")]
    Size,
    /// More than the arithmetic can represent.
    #[error("the number is too large")]
    TooLarge,
}

/// The longest duration: 10 years of 365 days.
const LONGEST_MS: u64 = 3650 * 86_400_000;

/// Reads a duration, at most 3650 days.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Duration)?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(UnitError::DurationUnit),
        _ => return Err(UnitError::Duration),
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    millis
        .filter(|millis| *millis <= LONGEST_MS)
        .map(Duration::from_millis)
        .ok_or(UnitError::TooLarge)
}

/// Reads a size in bytes, at most 2^63 - 1.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Size)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "" => return Err(UnitError::SizeUnit),
        _ => return Err(UnitError::Size),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or(UnitError::TooLarge)
}

/// A duration as people write it: in the largest unit that divides it. Parts of a millisecond are left out.
pub(super) fn written_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let fits = |(factor, _): &&(u128, &str)| millis != 0 && millis.is_multiple_of(*factor);
    match units.iter().find(fits) {
        Some((factor, unit)) => format!("{}{unit}", millis / factor),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// A size in bytes as people write it: in the largest unit that divides it.
pub(super) fn written_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &&(u32, &str)| bytes != 0 && bytes.is_multiple_of(1 << shift);
    match units.iter().find(fits) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// The digits at the beginning and the rest; `None` if there are no digits.
fn split(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(digits)
        .filter(|(number, _)| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_are_written_in_the_largest_unit_that_fits() {
        let hours = |hours: u64| written_duration(Duration::from_secs(hours * 3600));
        assert_eq!((hours(72).as_str(), hours(5).as_str()), ("3d", "5h"));
        assert_eq!(written_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(written_duration(Duration::ZERO), "0s");
        assert_eq!(
            (written_size(1 << 20), written_size(1025)),
            ("1MiB".to_owned(), "1025B".to_owned())
        );
    }

    #[test]
    fn durations_have_a_whole_number_and_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("72h"), Ok(Duration::from_secs(259_200)));
        assert_eq!(duration("5d"), Ok(Duration::from_secs(432_000)));
        assert_eq!(duration("30"), Err(UnitError::DurationUnit));
        for wrong in [
            "", "s", "1.5s", "-1s", "1 s", "1S", "1h30m", "1w", "+1s", "٣s",
        ] {
            assert_eq!(duration(wrong), Err(UnitError::Duration), "{wrong}");
        }
        for large in ["3651d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(large), Err(UnitError::TooLarge), "{large}");
        }
    }

    #[test]
    fn sizes_have_a_whole_number_and_a_binary_unit() {
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("10GiB"), Ok(10_737_418_240));
        assert_eq!(size("2TiB"), Ok(2_199_023_255_552));
        assert_eq!(size("1048576"), Err(UnitError::SizeUnit));
        for wrong in ["", "1MB", "1M", "1mib", "1 MiB", "1.5GiB", "MiB", "-1MiB"] {
            assert_eq!(size(wrong), Err(UnitError::Size), "{wrong}");
        }
        assert_eq!(size("8388608TiB"), Err(UnitError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_arithmetic(text in "[0-9]{0,25}[a-zA-Zü ]{0,4}") {
            drop((duration(&text), size(&text)));
        }

        #[test]
        fn whole_seconds_are_read_back(seconds in 0_u64..315_360_000) {
            prop_assert_eq!(duration(&format!("{seconds}s")), Ok(Duration::from_secs(seconds)));
        }

        #[test]
        fn what_is_written_is_read_back(
            number in 0_u64..4000,
            unit in prop::sample::select(vec![1_u64, 1000, 60_000, 3_600_000, 86_400_000]),
            shift in prop::sample::select(vec![0_u32, 10, 20, 30, 40]),
        ) {
            let number = if unit == 86_400_000 { number.min(3650) } else { number };
            let time = Duration::from_millis(number * unit);
            prop_assert_eq!(duration(&written_duration(time)), Ok(time));
            prop_assert_eq!(size(&written_size(number << shift)), Ok(number << shift));
        }
    }
}
