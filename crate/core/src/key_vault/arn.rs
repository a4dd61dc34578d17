//! ARNs of AWS KMS keys and aliases, and patterns of them.

use crate::kms::cloud_domains::is_label;

/// `arn:<partition>:kms:<region>:<account>:<kind>/<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    partition: &'a str,
    pub(super) region: &'a str,
    account: &'a str,
    /// `key` or `alias`.
    kind: &'a str,
    name: &'a str,
}

/// What stands for every region, account or name.
pub(super) const ANY: &str = "*";

impl<'a> Arn<'a> {
    /// Takes an ARN apart; `None` for what is none of KMS. The parts are not looked at.
    fn split(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account) = (parts.next()?, parts.next()?);
        let (kind, name) = parts.next()?.split_once('/')?;
        (arn == "arn" && service == "kms").then_some(Self {
            partition,
            region,
            account,
            kind,
            name,
        })
    }

    /// Reads the ARN of one key or alias; `None` for anything else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        Self::split(text).filter(|arn| {
            is_label(arn.partition)
                && is_label(arn.region)
                && is_account(arn.account)
                && is_name(arn.kind, arn.name)
        })
    }

    /// Reads an ARN in which `*` may stand for the region, the account and the name, each as a whole.
    pub(super) fn parse_pattern(text: &'a str) -> Option<Self> {
        Self::split(text).filter(|arn| {
            is_label(arn.partition)
                && (arn.region == ANY || is_label(arn.region))
                && (arn.account == ANY || is_account(arn.account))
                && (arn.name == ANY && is_kind(arn.kind) || is_name(arn.kind, arn.name))
        })
    }

    /// Whether this pattern has `arn` in it.
    pub(super) fn has(&self, arn: &Arn<'_>) -> bool {
        let same = |pattern: &str, found: &str| pattern == ANY || pattern == found;
        self.partition == arn.partition
            && same(self.region, arn.region)
            && same(self.account, arn.account)
            && self.kind == arn.kind
            && same(self.name, arn.name)
    }
}

fn is_kind(kind: &str) -> bool {
    matches!(kind, "key" | "alias")
}

fn is_account(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(kind: &str, name: &str) -> bool {
    let is_allowed = |byte: u8| match kind {
        "alias" => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/'),
        _ => byte.is_ascii_alphanumeric() || byte == b'-',
    };
    is_kind(kind) && !name.is_empty() && name.bytes().all(is_allowed)
}
