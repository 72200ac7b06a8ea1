//! Which venues this worker serves: the one of the plain settings, or several by their names.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use backstop_activities::{payouts::VenuePatience, venue::BinanceConfig};
use reqwest::Url;

use crate::config::VenueConfig;

/// What `BACKSTOP_VENUE_RECEIVE_WINDOW_MS` may be.
pub(crate) const RECEIVE_WINDOW_MS: RangeInclusive<i64> = 1..=60_000;
/// What `BACKSTOP_VENUE_CLOCK_SKEW_MS` may be.
pub(crate) const CLOCK_SKEW_MS: RangeInclusive<i64> = 0..=86_400_000;
/// What `BACKSTOP_VENUE_VISIBILITY_LAG_MS` may be.
pub(crate) const VISIBILITY_LAG_MS: RangeInclusive<i64> = 0..=86_400_000;
/// What `BACKSTOP_VENUE_SHARED_SPAN_S` may be.
pub(crate) const SHARED_SPAN_S: RangeInclusive<i64> = 0..=2_592_000;
/// What `BACKSTOP_VENUE_TURN_WAIT_MS` may be.
pub(crate) const TURN_WAIT_MS: RangeInclusive<i64> = 1..=60_000;
/// What needs no bounds of its own.
const ANY: RangeInclusive<i64> = 0..=u32::MAX as i64;

/// What the variables of the one venue begin with.
const ONE: &str = "BACKSTOP_VENUE";
const NAMES: &str = "BACKSTOP_VENUES";

/// A venue that this worker serves.
#[derive(Clone, Debug)]
pub struct Venue {
    /// Its name, as the books know it.
    pub name: String,
    /// Where it is, and with which account.
    pub account: BinanceConfig,
    /// How long it may take.
    pub patience: VenuePatience,
    /// How long a call waits for its turn before its activity steps aside.
    pub turn_wait: Duration,
}

impl VenueConfig {
    /// The venues that are served: those that are named, or else the one that has an address. `variable` reads the
    /// environment.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong, and what was expected.
    pub fn served(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Venue>> {
        if self.venues.iter().all(String::is_empty) {
            return if self.venue_url.is_some() { Ok(vec![self.venue(ONE)?]) } else { Ok(Vec::new()) };
        }
        ensure!(
            self.venue_url.is_none(),
            "{ONE}_URL: expected nothing beside {NAMES}, where each venue has an address of its own, such as {}_URL",
            prefix(&self.venues[0])
        );
        let mut read: BTreeMap<String, &str> = BTreeMap::new();
        let mut venues = Vec::new();
        for name in self.venues.iter().map(|name| name.trim()) {
            check_name(NAMES, name)?;
            let prefix = prefix(name);
            if let Some(other) = read.insert(prefix.clone(), name) {
                bail!("{NAMES}: expected names that differ, {other:?} and {name:?} would both read {prefix}_URL");
            }
            venues.push(self.named(name, &prefix, &variable)?.venue(&prefix)?);
        }
        Ok(venues)
    }

    /// The same settings, with those that are this venue's own. An account is nobody else's: it is never shared.
    fn named(&self, name: &str, prefix: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let own = |suffix: &str| variable(&format!("{prefix}_{suffix}")).filter(|text| !text.is_empty());
        let number = |suffix: &str, shared: u32, allowed: RangeInclusive<i64>| -> Result<u32> {
            let Some(text) = own(suffix) else { return Ok(shared) };
            let value = text.parse::<u32>().ok().filter(|value| allowed.contains(&i64::from(*value)));
            value.with_context(|| {
                let (from, to) = (allowed.start(), allowed.end());
                format!("{prefix}_{suffix}: expected a whole number from {from} to {to}, got {text:?}")
            })
        };
        let url = own("URL").with_context(|| format!("{prefix}_URL: expected the REST endpoint of {name}"))?;
        let url: Url =
            url.parse().ok().with_context(|| format!("{prefix}_URL: expected an address such as https://host"))?;
        Ok(Self {
            venues: Vec::new(),
            venue_name: name.to_owned(),
            venue_url: Some(url),
            venue_key: own("KEY").unwrap_or_default(),
            venue_secret: own("SECRET").unwrap_or_default(),
            venue_receive_window_ms: number("RECEIVE_WINDOW_MS", self.venue_receive_window_ms, RECEIVE_WINDOW_MS)?,
            venue_clock_skew_ms: number("CLOCK_SKEW_MS", self.venue_clock_skew_ms, CLOCK_SKEW_MS)?,
            venue_visibility_lag_ms: number("VISIBILITY_LAG_MS", self.venue_visibility_lag_ms, VISIBILITY_LAG_MS)?,
            venue_answer_timeout_ms: number("ANSWER_TIMEOUT_MS", self.venue_answer_timeout_ms, ANY)?,
            venue_poll_max_ms: number("POLL_MAX_MS", self.venue_poll_max_ms, ANY)?,
            venue_turn_wait_ms: number("TURN_WAIT_MS", self.venue_turn_wait_ms, TURN_WAIT_MS)?,
            venue_shared_span_s: number("SHARED_SPAN_S", self.venue_shared_span_s, SHARED_SPAN_S)?,
        })
    }

    /// The venue of these settings, whose variables begin with `prefix`.
    fn venue(&self, prefix: &str) -> Result<Venue> {
        check_name(&format!("{ONE}_NAME"), &self.venue_name)?;
        let base_url = self.venue_url.clone();
        let base_url = base_url.with_context(|| format!("{prefix}_URL: expected an address such as https://host"))?;
        ensure!(!self.venue_key.is_empty(), "{prefix}_KEY: expected the API key of {}", self.venue_name);
        ensure!(!self.venue_secret.is_empty(), "{prefix}_SECRET: expected the secret of that key");
        Ok(Venue {
            name: self.venue_name.clone(),
            account: BinanceConfig {
                base_url,
                api_key: self.venue_key.clone(),
                api_secret: self.venue_secret.clone().into(),
                receive_window: millis(self.venue_receive_window_ms),
                answer_timeout: millis(self.venue_answer_timeout_ms),
            },
            patience: VenuePatience {
                receive_window: millis(self.venue_receive_window_ms),
                visibility: millis(self.venue_clock_skew_ms) + millis(self.venue_visibility_lag_ms),
                poll_max: millis(self.venue_poll_max_ms),
                shared_span: Duration::from_secs(self.venue_shared_span_s.into()),
            },
            turn_wait: millis(self.venue_turn_wait_ms),
        })
    }
}

/// What the variables of a venue begin with that is one of several.
fn prefix(name: &str) -> String {
    format!("{ONE}_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// As the books' `networks` and `strategies` name venues.
fn check_name(variable: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    ensure!(
        (1..=32).contains(&name.len()) && name.chars().all(plain),
        "{variable}: expected up to 32 lower-case letters, digits, '-' and '_', got {name:?}"
    );
    Ok(())
}

pub(crate) fn millis(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use clap::{Args, Command, FromArgMatches};
    use secrecy::ExposeSecret;

    use super::{Venue, VenueConfig};

    /// Reads flags as the program does, and variables from a list.
    fn served(flags: &[&str], variables: &[(&str, &str)]) -> Result<Vec<Venue>, String> {
        let command = VenueConfig::augment_args(Command::new("worker").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).map_err(|error| error.to_string())?;
        let config = VenueConfig::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let venues = config.served(|name| variables.get(name).map(|value| (*value).to_owned()));
        venues.map_err(|error| format!("{error:#}"))
    }

    const ACCOUNTS: [(&str, &str); 6] = [
        ("BACKSTOP_VENUE_BINANCE_URL", "http://one:1"),
        ("BACKSTOP_VENUE_BINANCE_KEY", "key-1"),
        ("BACKSTOP_VENUE_BINANCE_SECRET", "secret-1"),
        ("BACKSTOP_VENUE_KRAKEN_LIKE_URL", "http://two:2"),
        ("BACKSTOP_VENUE_KRAKEN_LIKE_KEY", "key-2"),
        ("BACKSTOP_VENUE_KRAKEN_LIKE_SECRET", "secret-2"),
    ];
    const BOTH: [&str; 2] = ["--venues", "binance,kraken-like"];

    #[test]
    fn without_an_address_and_names_no_venue_is_served() {
        assert!(served(&[], &ACCOUNTS).unwrap().is_empty());
        assert!(served(&["--venues", ""], &ACCOUNTS).unwrap().is_empty());
    }

    #[test]
    fn one_venue_is_what_the_plain_flags_say() {
        let flags = ["--venue-url", "http://one:1", "--venue-key", "k", "--venue-secret", "s", "--venue-name", "okx"];
        let venues = served(&flags, &ACCOUNTS).unwrap();
        let [venue] = venues.as_slice() else { panic!("{venues:?}") };
        assert_eq!((venue.name.as_str(), venue.account.base_url.as_str()), ("okx", "http://one:1/"));
        assert_eq!((venue.account.api_key.as_str(), venue.account.api_secret.expose_secret()), ("k", "s"));
    }

    #[test]
    fn named_venues_have_accounts_of_their_own_and_share_what_they_do_not_name() {
        let mut variables = ACCOUNTS.to_vec();
        variables.push(("BACKSTOP_VENUE_KRAKEN_LIKE_RECEIVE_WINDOW_MS", "700"));
        let flags = ["--venue-receive-window-ms", "900", "--venue-clock-skew-ms", "1"];
        let venues = served(&[&BOTH[..], &flags].concat(), &variables).unwrap();
        let told: Vec<_> = venues
            .iter()
            .map(|venue| (venue.name.as_str(), venue.account.base_url.as_str(), venue.account.api_key.as_str()))
            .collect();
        assert_eq!(told, [("binance", "http://one:1/", "key-1"), ("kraken-like", "http://two:2/", "key-2")]);
        assert_eq!(venues[1].account.api_secret.expose_secret(), "secret-2");
        let windows: Vec<Duration> = venues.iter().map(|venue| venue.patience.receive_window).collect();
        assert_eq!(windows, [Duration::from_millis(900), Duration::from_millis(700)]);
        assert_eq!(venues[1].account.receive_window, windows[1]);
        assert!(venues.iter().all(|venue| venue.patience.visibility == Duration::from_millis(60_001)));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_what_was_expected() {
        let (url, key) = ("BACKSTOP_VENUE_KRAKEN_LIKE_URL", "BACKSTOP_VENUE_KRAKEN_LIKE_KEY");
        let (secret, window) = ("BACKSTOP_VENUE_KRAKEN_LIKE_SECRET", "BACKSTOP_VENUE_KRAKEN_LIKE_RECEIVE_WINDOW_MS");
        for (variable, value, says) in [
            (url, "", "the REST endpoint of kraken-like"),
            (url, "nowhere", "an address such as"),
            (key, "", "the API key of kraken-like"),
            (secret, "", "the secret"),
            (window, "soon", "a whole number from 1 to 60000, got \"soon\""),
            (window, "0", "from 1 to 60000"),
            (window, "60001", "from 1 to 60000"),
        ] {
            let variables: Vec<_> =
                ACCOUNTS.into_iter().filter(|(name, _)| *name != variable).chain([(variable, value)]).collect();
            let refused = served(&BOTH, &variables).unwrap_err();
            assert!(refused.starts_with(&format!("{variable}: expected ")) && refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn names_have_to_be_names_of_different_venues() {
        for (flags, says) in [
            (&["--venues", "Binance"][..], "BACKSTOP_VENUES: expected up to 32 lower-case letters"),
            (&["--venues", "binance,"], "got \"\""),
            (&["--venues", "binance,binance"], "BACKSTOP_VENUES: expected names that differ"),
            (&["--venues", "kraken-like,kraken_like"], "BACKSTOP_VENUE_KRAKEN_LIKE_URL"),
            (&["--venues", "binance", "--venue-url", "http://x"], "BACKSTOP_VENUE_URL: expected nothing beside"),
        ] {
            let refused = served(flags, &ACCOUNTS).unwrap_err();
            assert!(refused.contains(says), "{flags:?}: {refused}");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let told = format!("{:?}", served(&BOTH, &ACCOUNTS).unwrap());
        assert!(!told.contains("secret-1"), "{told}");
    }
}
