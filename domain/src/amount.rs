use std::{fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// A positive amount of one asset, carried exactly.
///
/// Written as plain decimal digits with an optional fraction (`12`, `0.5`), never as a JSON number. At most 28
/// significant digits, because `rust_decimal` silently rescales beyond; below 10^20 and at most 18 decimal places,
/// because the books hold `numeric(38, 18)`. How many places an asset really has is for the books to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(Decimal);

impl Amount {
    const EXPECTED: &'static str =
        "a decimal string above 0 and below 10^20, with at most 18 decimal places and 28 digits, like \"1.5\"";
    const PLACES_MAX: u32 = 18;
    const MANTISSA_END: u128 = 10_u128.pow(28);
    const END: u128 = 10_u128.pow(20);

    /// Reads the books' text form of a part of an amount, which may also be zero.
    ///
    /// # Errors
    /// Says what was expected when the text is not a plain decimal that can be carried exactly.
    pub fn parse_part(text: &str) -> Result<Decimal, String> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(Self::EXPECTED.into());
        }
        let value = Decimal::from_str_exact(text).map_err(|_| Self::EXPECTED.to_owned())?.normalize();
        let digits_fit = value.mantissa().unsigned_abs() < Self::MANTISSA_END;
        if !digits_fit || value.scale() > Self::PLACES_MAX || value >= Decimal::from(Self::END) {
            return Err(Self::EXPECTED.into());
        }
        Ok(value)
    }

    /// The amount in units of 10^-18: every amount is a whole number of them, below 10^38.
    pub(crate) fn atoms(self) -> u128 {
        self.0.mantissa().unsigned_abs() * 10_u128.pow(Self::PLACES_MAX - self.0.scale())
    }

    /// The amount of so many units of 10^-18; `None` for zero, and for what can't be carried exactly.
    pub(crate) fn from_atoms(atoms: u128) -> Option<Self> {
        let (mut mantissa, mut scale) = (atoms, Self::PLACES_MAX);
        while scale > 0 && mantissa.is_multiple_of(10) {
            (mantissa, scale) = (mantissa / 10, scale - 1);
        }
        let carried = (1..Self::MANTISSA_END).contains(&mantissa) && atoms < 10_u128.pow(38);
        let mantissa = i128::try_from(mantissa).ok().filter(|_| carried)?;
        Decimal::try_from_i128_with_scale(mantissa, scale).ok().map(Self)
    }
}

impl From<Amount> for Decimal {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Self::parse_part(text)? {
            value if value.is_zero() => Err(Self::EXPECTED.into()),
            value => Ok(Self(value)),
        }
    }
}

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn plain_decimals_are_carried_exactly_and_written_without_trailing_zeros() {
        for (text, shown) in [
            ("1", "1"),
            ("1.50", "1.5"),
            ("0.000000000000000001", "0.000000000000000001"),
            ("99999999999999999999", "99999999999999999999"),
            ("1234567890.123456789012345678", "1234567890.123456789012345678"),
            ("007.5", "7.5"),
        ] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn an_amount_is_a_whole_number_of_atoms_and_back() {
        for (text, atoms) in [
            ("0.000000000000000001", 1),
            ("1.5", 15 * 10_u128.pow(17)),
            ("99999999999999999999", (10_u128.pow(20) - 1) * 10_u128.pow(18)),
            ("1234567890.123456789012345678", 1_234_567_890_123_456_789_012_345_678),
        ] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!(amount.atoms(), atoms, "{text}");
            assert_eq!(Amount::from_atoms(atoms), Some(amount), "{text}");
        }
        for atoms in [0, 12_345_678_901_123_456_789_012_345_678, 10_u128.pow(38), u128::MAX] {
            assert_eq!(Amount::from_atoms(atoms), None, "{atoms}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "0",
            "0.000",
            "-1",
            "+1",
            "1e3",
            "1E3",
            "NaN",
            "inf",
            "0x10",
            "1,5",
            "1_000",
            ".5",
            "1.",
            "1.5.2",
            "１",
            "100000000000000000000",
            "0.0000000000000000001",
            "12345678901.123456789012345678",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text:?} was accepted");
        }
    }
}
