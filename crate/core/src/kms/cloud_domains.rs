//! Which hosts the clouds themselves run for their key management, and whether two endpoints are the same place.

use alloc::{
    format,
    string::{String, ToString},
};

use super::{Endpoint, ProviderKind};

/// Port of HTTPS, which all clouds use.
const HTTPS_PORT: &str = "443";
/// IANA: kmip.
const KMIP_PORT: &str = "5696";

/// Where a connection goes: host in lower case, without the one dot that ends an absolute name; port filled in.
///
/// Nothing else is made equal: percent-encoding is not decoded, international names compare as they are written (in
/// ASCII), and `0443` is not `443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: String,
}

impl Place {
    /// The place that `endpoint` names for a provider of type `kind`.
    #[must_use]
    pub fn of(endpoint: &Endpoint, kind: ProviderKind) -> Self {
        let host = endpoint.host().to_ascii_lowercase();
        let default_port = match kind {
            ProviderKind::Kmip => KMIP_PORT,
            _ => HTTPS_PORT,
        };
        Self {
            host: host
                .strip_suffix('.')
                .map_or_else(|| host.clone(), ToString::to_string),
            port: endpoint.port().unwrap_or(default_port).to_string(),
        }
    }

    /// Whether the host is made of the characters that names and addresses have. A percent sign or a comma may mean one
    /// host here and another one to whoever connects.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    }

    /// Whether AWS runs this host for its KMS in `region`: the public, FIPS and dual-stack endpoints, and VPC endpoints.
    ///
    /// The whole name is compared. Below `amazonaws.com` there are hosts of customers too, such as those of API Gateway.
    /// Source: "AWS Key Management Service endpoints and quotas"; "Connecting to AWS KMS through a VPC endpoint".
    #[must_use]
    pub fn is_aws_kms(&self, region: &str) -> bool {
        const DOMAINS: &[&str] = &[
            "amazonaws.com",
            "amazonaws.com.cn",
            "amazonaws.eu",
            "api.aws",
            "api.amazonwebservices.com.cn",
        ];
        if self.port != HTTPS_PORT || !is_label(region) {
            return false;
        }
        let region = region.to_ascii_lowercase();
        ["kms", "kms-fips"].iter().any(|service| {
            DOMAINS.iter().any(|domain| {
                self.host == format!("{service}.{region}.{domain}")
                    || (domain.starts_with("amazonaws")
                        && self
                            .host
                            .strip_suffix(&format!(".{service}.{region}.vpce.{domain}"))
                            .is_some_and(|first| first.starts_with("vpce-") && is_label(first)))
            })
        })
    }

    /// Whether Microsoft runs this host as a key vault or a managed HSM, of Azure or of one of its sovereign clouds.
    ///
    /// Source: "Azure Key Vault basic concepts", DNS suffixes.
    #[must_use]
    pub fn is_azure_key_vault(&self) -> bool {
        const DOMAINS: &[&str] = &[
            ".vault.azure.net",
            ".vault.azure.cn",
            ".vault.usgovcloudapi.net",
            ".vault.microsoftazure.de",
            ".managedhsm.azure.net",
            ".managedhsm.azure.cn",
            ".managedhsm.usgovcloudapi.net",
        ];
        self.port == HTTPS_PORT
            && DOMAINS
                .iter()
                .filter_map(|domain| self.host.strip_suffix(domain))
                .any(is_label)
    }

    /// Whether Google runs this host for its KMS: the global, regional, mTLS and Private Service Connect endpoints.
    ///
    /// Source: "Cloud Key Management Service API", service endpoints; "About accessing Google APIs through endpoints".
    #[must_use]
    pub fn is_google_kms(&self) -> bool {
        let Some(name) = self.host.strip_suffix(".googleapis.com") else {
            return false;
        };
        let regional = name
            .strip_prefix("cloudkms.")
            .and_then(|rest| rest.strip_suffix(".rep"));
        let private = name
            .strip_prefix("cloudkms-")
            .and_then(|rest| rest.strip_suffix(".p"));
        let located = name.strip_suffix("-cloudkms");
        self.port == HTTPS_PORT
            && (matches!(name, "cloudkms" | "cloudkms.mtls")
                || [regional, private, located]
                    .into_iter()
                    .flatten()
                    .any(is_label))
    }
}

/// Whether `text` is one part of a host name (RFC 1123, section 2.1), such as a region has to be.
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::of(
            &Endpoint::parse(text, true).expect("the endpoint is acceptable"),
            ProviderKind::Aws,
        )
    }

    #[test]
    fn places_are_equal_whatever_the_case_the_last_dot_and_the_default_port() {
        for same in ["a.b", "A.b", "a.b.", "a.b:443", "https://a.B/x", "a.b.:443"] {
            assert_eq!(place(same), place("a.b"), "{same}");
        }
        for other in ["a.b:8443", "a.b..", "a.b:0443", "a%2eb", "a.bb", "x.a.b"] {
            assert_ne!(place(other), place("a.b"), "{other}");
        }
        let kmip = Endpoint::parse("a.b", true).expect("the endpoint is acceptable");
        assert_ne!(Place::of(&kmip, ProviderKind::Kmip), place("a.b"));
    }

    #[test]
    fn aws_owns_the_endpoints_of_its_kms_and_nothing_else_below_its_domains() {
        for own in [
            "kms.us-east-1.amazonaws.com",
            "KMS.US-EAST-1.amazonaws.com.",
            "kms.us-east-1.amazonaws.com:443",
            "kms-fips.us-east-1.amazonaws.com",
            "kms.us-east-1.api.aws",
            "kms-fips.us-east-1.api.aws",
            "vpce-0a1b-2c3d.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0a1b-2c3d-us-east-1a.kms-fips.us-east-1.vpce.amazonaws.com",
        ] {
            assert!(place(own).is_aws_kms("us-east-1"), "{own}");
        }
        assert!(place("kms.cn-north-1.amazonaws.com.cn").is_aws_kms("cn-north-1"));
        assert!(place("kms.eusc-de-east-1.amazonaws.eu").is_aws_kms("eusc-de-east-1"));
        for foreign in [
            "kms.us-east-1.amazonaws.com.evil.example",
            "kms.us-east-1.evil-amazonaws.com",
            "evil-amazonaws.com",
            "kms.us-east-1.amazonaws.com:8443",
            "kms.eu-central-1.amazonaws.com",
            "xkms.us-east-1.amazonaws.com",
            "evil.kms.us-east-1.amazonaws.com",
            "a1b2c3.execute-api.us-east-1.amazonaws.com",
            "kms.us-east-1.execute-api.us-east-1.amazonaws.com",
            "bucket.s3.us-east-1.amazonaws.com",
            "vpce-0a1b.vpce-svc-0a1b.us-east-1.vpce.amazonaws.com",
            "vpce-a.b.kms.us-east-1.vpce.amazonaws.com",
            "x.kms.us-east-1.vpce.amazonaws.com",
            "kms.us-east-1.amazonaws%2ecom",
            "127.0.0.1",
            "localhost",
        ] {
            assert!(!place(foreign).is_aws_kms("us-east-1"), "{foreign}");
        }
        for region in ["", "us-east-1.evil.example/", "us-east-1.", "*", "us_east"] {
            assert!(
                !place("kms.us-east-1.amazonaws.com").is_aws_kms(region),
                "{region}"
            );
        }
    }

    #[test]
    fn azure_owns_one_label_below_the_domains_of_its_vaults() {
        for own in [
            "hospital.vault.azure.net",
            "Hospital.Vault.Azure.Net.",
            "hospital.vault.azure.cn",
            "hospital.vault.usgovcloudapi.net",
            "hospital.managedhsm.azure.net:443",
        ] {
            assert!(place(own).is_azure_key_vault(), "{own}");
        }
        for foreign in [
            "vault.azure.net",
            ".vault.azure.net",
            "a.b.vault.azure.net",
            "evil-vault.azure.net",
            "hospital.vault.azure.net.evil.example",
            "hospital.vault.azure.net:444",
            "hospital.azurewebsites.net",
            "hospital%2evault.azure.net",
        ] {
            assert!(!place(foreign).is_azure_key_vault(), "{foreign}");
        }
    }

    #[test]
    fn google_owns_the_endpoints_of_its_kms_and_nothing_else_below_its_domain() {
        for own in [
            "cloudkms.googleapis.com",
            "cloudkms.googleapis.com:443",
            "cloudkms.europe-west3.rep.googleapis.com",
            "europe-west3-cloudkms.googleapis.com",
            "cloudkms.mtls.googleapis.com",
            "cloudkms-hospital.p.googleapis.com",
        ] {
            assert!(place(own).is_google_kms(), "{own}");
        }
        for foreign in [
            "storage.googleapis.com",
            "googleapis.com",
            "evilcloudkms.googleapis.com",
            "cloudkms.googleapis.com.evil.example",
            "cloudkms.evil-googleapis.com",
            "cloudkms.googleapis.com:8443",
            "cloudkms.a.b.rep.googleapis.com",
        ] {
            assert!(!place(foreign).is_google_kms(), "{foreign}");
        }
    }
}
