//! Which failures of a KMS pass, and how long to wait for that.

use super::json::{Member, members, text};
use crate::kms::ProviderKind;

/// A request is sent so many times more after its first failure.
pub const MAX_RETRIES: u32 = 3;

const BASE_US: u64 = 200_000;
const MAX_US: u64 = 20_000_000;

/// How long to wait before sending a request for the `retries`-th time again: 0 before its first failure.
///
/// Shape: 1 to min(200 ms · 2^(retries−1), 20 s), spread evenly over the values of `random` ("full jitter").
/// Units: microseconds.
#[must_use]
pub fn backoff_us(retries: u32, random: u32) -> u64 {
    let Some(doublings) = retries.checked_sub(1) else {
        return 0;
    };
    // Seven doublings pass the limit.
    let limit = (BASE_US << doublings.min(7)).min(MAX_US);
    1 + u64::from(random) * (limit - 1) / u64::from(u32::MAX)
}

/// Whether the same request may succeed later.
pub(super) fn is_retryable(kind: ProviderKind, status: u16, body: &[u8]) -> bool {
    match kind {
        ProviderKind::Aws => {
            matches!(status, 408 | 429 | 500 | 502 | 503 | 509)
                // DIFFERS: libmongocrypt gives up here, though AWS KMS throttles with this status alone.
                || (status == 400 && is_throttling(body))
        }
        ProviderKind::Azure => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
        ProviderKind::Gcp => matches!(status, 408 | 429) || status >= 500,
        // Registering and creating objects has side effects, and a retry would leave orphans behind.
        ProviderKind::Kmip | ProviderKind::Local => false,
    }
}

/// The codes that the AWS SDKs take for throttling.
fn is_throttling(body: &[u8]) -> bool {
    aws_error_type(body).is_some_and(|kind| {
        matches!(
            kind.as_str(),
            "Throttling"
                | "ThrottlingException"
                | "ThrottledException"
                | "RequestThrottled"
                | "RequestThrottledException"
                | "RequestLimitExceeded"
                | "TooManyRequestsException"
                | "BandwidthLimitExceeded"
                | "SlowDown"
        )
    })
}

/// The `__type` of an AWS error, without its namespace: `com.amazonaws.kms#NotFoundException:http://...`.
pub(super) fn aws_error_type(body: &[u8]) -> Option<alloc::string::String> {
    let [Some(Member::Text(raw))] = members(body, ["__type"]).ok()? else {
        return None;
    };
    let whole = text(raw);
    let whole = core::str::from_utf8(whole.expose()).ok()?;
    let name = whole.split(':').next()?;
    let name = name.rsplit('#').next()?;
    // It goes into error details, and nothing but a name belongs there.
    let is_name = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    is_name.then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_twenty_seconds() {
        assert_eq!(backoff_us(0, u32::MAX), 0);
        for (retries, most) in [
            (1, 200_000),
            (2, 400_000),
            (3, 800_000),
            (7, 12_800_000),
            (8, 20_000_000),
            (u32::MAX, 20_000_000),
        ] {
            assert_eq!(backoff_us(retries, 0), 1);
            assert_eq!(backoff_us(retries, u32::MAX), most);
            let middle = backoff_us(retries, u32::MAX / 2);
            assert!(middle.abs_diff(most / 2) <= 1, "{middle}");
        }
    }

    #[test]
    fn each_provider_has_its_passing_statuses() {
        let passing = |kind| {
            (100..1000)
                .filter(|status| is_retryable(kind, *status, b""))
                .collect::<alloc::vec::Vec<u16>>()
        };
        assert_eq!(passing(ProviderKind::Aws), [408, 429, 500, 502, 503, 509]);
        assert_eq!(passing(ProviderKind::Azure), [408, 429, 500, 502, 503, 504]);
        let gcp = [408, 429].into_iter().chain(500..1000);
        assert!(passing(ProviderKind::Gcp).into_iter().eq(gcp));
        assert!(passing(ProviderKind::Kmip).is_empty());
        assert!(passing(ProviderKind::Local).is_empty());
    }

    #[test]
    fn aws_throttles_with_status_400() {
        let passes = |status, body: &str| is_retryable(ProviderKind::Aws, status, body.as_bytes());
        for body in [
            r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
            r#"{"__type":"com.amazonaws.kms#ThrottlingException:http://x/"}"#,
            r#"{"message":"x","__type":"TooManyRequestsException"}"#,
        ] {
            assert!(passes(400, body), "{body}");
            assert!(!passes(403, body), "{body}");
            assert!(!is_retryable(ProviderKind::Gcp, 400, body.as_bytes()));
        }
        for body in [
            "",
            "ThrottlingException",
            "{}",
            r#"{"__type":1}"#,
            r#"{"__type":"NotFoundException"}"#,
            r#"{"__type":"LimitExceededException"}"#,
            r#"{"__type":"throttlingexception"}"#,
            r#"{"error":{"__type":"ThrottlingException"}}"#,
        ] {
            assert!(!passes(400, body), "{body}");
        }
    }

    #[test]
    fn an_error_type_is_a_name_or_nothing() {
        let kind =
            |name: &str| aws_error_type(alloc::format!("{{\"__type\":\"{name}\"}}").as_bytes());
        assert_eq!(
            kind("a#DisabledException").as_deref(),
            Some("DisabledException")
        );
        for name in ["", "a b", "a\\nb", &"x".repeat(65), "#", "x#"] {
            assert_eq!(kind(name), None, "{name}");
        }
    }
}
