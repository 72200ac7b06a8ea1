//! How a delivery is signed, and how its receiver verifies that: HMAC-SHA256 over id, timestamp and body, in the headers of
//! the Standard Webhooks scheme.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

/// The header with the event's id, the same at every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the attempt, s since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, each as `v1,<base64>`, with blanks between them.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// How far a delivery's timestamp may be from the receiver's clock.
pub const TOLERANCE: Duration = Duration::from_secs(300);

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// What an endpoint's deliveries are signed with.
#[derive(Clone, Debug)]
pub struct WebhookSecret(SecretSlice<u8>);

/// Why a delivery is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDelivery {
    /// The timestamp is none.
    #[error("the timestamp is not a number of seconds")]
    Timestamp,
    /// It was sent long ago, or in the future: somebody may have kept it.
    #[error("the timestamp is too far from the present")]
    Stale,
    /// Somebody else has sent it, or has changed it.
    #[error("no signature fits")]
    Signature,
}

impl WebhookSecret {
    /// Reads a secret: `whsec_` and base64, or any other text as it is.
    ///
    /// # Errors
    /// When it is empty, or what follows `whsec_` is not base64.
    pub fn read(text: &SecretString) -> Result<Self, String> {
        let text = text.expose_secret();
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| format!("expected base64 after {PREFIX}"))?,
            None => text.as_bytes().to_vec(),
        };
        if key.is_empty() { Err("expected a secret that is not empty".into()) } else { Ok(Self(key.into())) }
    }

    /// The signature header of a delivery.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mac = self.mac(id, &timestamp.to_string(), body);
        format!("{VERSION}{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// Verifies a delivery by its three headers and its body, byte for byte as they came.
    ///
    /// # Errors
    /// When it is not one of ours, or not of the present.
    pub fn verify(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8]) -> Result<(), BadDelivery> {
        let sent = timestamp.parse::<u64>().map_err(|_| BadDelivery::Timestamp)?;
        let now = unix_seconds(SystemTime::now());
        if now.abs_diff(sent) > TOLERANCE.as_secs() {
            return Err(BadDelivery::Stale);
        }
        let fits = signatures.split_ascii_whitespace().filter_map(|one| one.strip_prefix(VERSION)).any(|encoded| {
            let signature = BASE64_STANDARD.decode(encoded).unwrap_or_default();
            // In constant time.
            self.mac(id, timestamp, body).verify_slice(&signature).is_ok()
        });
        if fits { Ok(()) } else { Err(BadDelivery::Signature) }
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC takes keys of any length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

/// A time in whole seconds since 1970.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::read(&text.into()).unwrap()
    }

    /// The example that the libraries of Standard Webhooks share.
    #[test]
    fn the_schemes_own_example_gives_its_signature() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = secret.sign(ID, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_was_signed_is_verified_and_nothing_else_is() {
        let secret = secret("secret");
        let sent = unix_seconds(SystemTime::now());
        let (timestamp, signature) = (sent.to_string(), secret.sign(ID, sent, b"body"));
        assert_eq!(secret.verify(ID, &timestamp, &signature, b"body"), Ok(()));
        assert_eq!(secret.verify(ID, &timestamp, &format!("v1,AAAA v2,x {signature}"), b"body"), Ok(()));
        let later = (sent + 1).to_string();
        for (id, timestamp, signature, body) in [
            ("other", timestamp.as_str(), signature.as_str(), b"body"),
            (ID, &later, &signature, b"body"),
            (ID, &timestamp, "v1,", b"body"),
            (ID, &timestamp, "", b"body"),
            (ID, &timestamp, &signature, b"Body"),
        ] {
            assert_eq!(secret.verify(id, timestamp, signature, body), Err(BadDelivery::Signature), "{id} {signature}");
        }
        assert_eq!(self::secret("other").verify(ID, &timestamp, &signature, b"body"), Err(BadDelivery::Signature));
    }

    #[test]
    fn what_is_old_is_refused_though_it_is_signed() {
        let secret = secret("secret");
        let sent = unix_seconds(SystemTime::now()) - TOLERANCE.as_secs() - 60;
        let signature = secret.sign(ID, sent, b"body");
        assert_eq!(secret.verify(ID, &sent.to_string(), &signature, b"body"), Err(BadDelivery::Stale));
        assert_eq!(secret.verify(ID, "yesterday", &signature, b"body"), Err(BadDelivery::Timestamp));
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_none_is_printed() {
        assert!(WebhookSecret::read(&"whsec_?".into()).is_err());
        assert!(WebhookSecret::read(&"whsec_".into()).is_err());
        assert!(WebhookSecret::read(&"".into()).is_err());
        assert!(!format!("{:?}", secret("hush")).contains("hush"));
    }
}
