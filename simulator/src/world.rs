//! The coins and networks of the paper exchange, one table, and the symbols it trades; read at start.
//!
//! Field names and the form of the values are those of "All Coins' Information"
//! (<https://developers.binance.com/docs/wallet/capital/all-coins-info>); the values are plausible, not
//! live.

use anyhow::{Context, Result};
use regex::Regex;
use rust_decimal::Decimal;

use crate::spot::{self, Symbol};

const BTC_ADDRESS: &str = "^(bc1[a-z0-9]{25,59}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})$";
const EVM_ADDRESS: &str = "^0x[0-9A-Fa-f]{40}$";
const TRX_ADDRESS: &str = "^T[1-9A-HJ-NP-Za-km-z]{33}$";
const XRP_ADDRESS: &str = "^r[1-9A-HJ-NP-Za-km-z]{24,34}$";
const XRP_TAG: &str = "^[0-9]{1,10}$";
/// A network without tags.
const NO_TAG: &str = "";

/// Coin, full name, the free balance an empty journal starts with.
const COINS: &[(&str, &str, &str)] = &[
    ("BTC", "Bitcoin", "10"),
    ("ETH", "Ethereum", "100"),
    ("USDT", "TetherUS", "100000"),
    ("BNB", "BNB", "500"),
    ("XRP", "XRP", "50000"),
];

/// One line of the table of networks; amounts are in units of the coin.
struct Line {
    coin: &'static str,
    network: &'static str,
    name: &'static str,
    default: bool,
    fee: &'static str,
    min: &'static str,
    max: &'static str,
    multiple: &'static str,
    confirms: u32,
    address: &'static str,
    tag: &'static str,
}

#[rustfmt::skip]
const NETWORKS: &[Line] = &[
    Line { coin: "BTC",  network: "BTC", name: "Bitcoin",                 default: true,  fee: "0.0005",   min: "0.001", max: "100",     multiple: "0.00000001", confirms: 1,  address: BTC_ADDRESS, tag: NO_TAG },
    Line { coin: "ETH",  network: "ETH", name: "Ethereum (ERC20)",        default: true,  fee: "0.0008",   min: "0.002", max: "1000",    multiple: "0.00000001", confirms: 6,  address: EVM_ADDRESS, tag: NO_TAG },
    Line { coin: "USDT", network: "ETH", name: "Ethereum (ERC20)",        default: true,  fee: "2.5",      min: "10",    max: "5000000", multiple: "0.000001",   confirms: 6,  address: EVM_ADDRESS, tag: NO_TAG },
    Line { coin: "USDT", network: "TRX", name: "Tron (TRC20)",            default: false, fee: "1",        min: "5",     max: "5000000", multiple: "0.000001",   confirms: 1,  address: TRX_ADDRESS, tag: NO_TAG },
    Line { coin: "BNB",  network: "BSC", name: "BNB Smart Chain (BEP20)", default: true,  fee: "0.00005",  min: "0.001", max: "50000",   multiple: "0.00000001", confirms: 15, address: EVM_ADDRESS, tag: NO_TAG },
    Line { coin: "XRP",  network: "XRP", name: "Ripple",                  default: true,  fee: "0.2",      min: "2",     max: "1000000", multiple: "0.000001",   confirms: 1,  address: XRP_ADDRESS, tag: XRP_TAG },
];

/// A coin and the networks it can leave on.
pub(crate) struct Coin {
    pub(crate) symbol: &'static str,
    pub(crate) name: &'static str,
    /// Free balance before anything happened.
    pub(crate) opening_balance: Decimal,
    pub(crate) networks: Vec<Network>,
}

/// A coin on a network; amounts are in units of the coin.
pub(crate) struct Network {
    pub(crate) symbol: &'static str,
    pub(crate) name: &'static str,
    pub(crate) is_default: bool,
    /// Taken out of the amount that leaves the account.
    pub(crate) fee: Decimal,
    pub(crate) min: Decimal,
    pub(crate) max: Decimal,
    pub(crate) multiple: Decimal,
    pub(crate) min_confirm: u32,
    pub(crate) address: Regex,
    /// `None` when the network has no tags.
    pub(crate) tag: Option<Regex>,
}

/// The whole table, checked and compiled.
pub(crate) struct World {
    pub(crate) coins: Vec<Coin>,
    /// What can be traded.
    pub(crate) symbols: Vec<Symbol>,
}

impl World {
    /// Reads the table; an error is a mistake in the table itself.
    pub(crate) fn load() -> Result<Self> {
        let coins: Result<Vec<Coin>> = COINS
            .iter()
            .map(|&(coin, name, opening)| {
                let lines = NETWORKS.iter().filter(|line| line.coin == coin);
                Ok(Coin {
                    symbol: coin,
                    name,
                    opening_balance: amount(opening)?,
                    networks: lines.map(Network::read).collect::<Result<_>>()?,
                })
            })
            .collect();
        Ok(Self { coins: coins?, symbols: spot::load()? })
    }

    /// Finds a coin by its exact name.
    pub(crate) fn coin(&self, name: &str) -> Option<&Coin> {
        self.coins.iter().find(|coin| coin.symbol == name)
    }

    /// Finds a symbol by its exact name.
    pub(crate) fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| symbol.name == name)
    }

    /// Finds a network of a coin by exact names.
    pub(crate) fn network(&self, coin: &str, network: &str) -> Option<&Network> {
        self.coin(coin)?.network(Some(network))
    }
}

impl Coin {
    /// The named network, or the default one.
    pub(crate) fn network(&self, name: Option<&str>) -> Option<&Network> {
        self.networks.iter().find(|network| match name {
            Some(name) => network.symbol == name,
            None => network.is_default,
        })
    }
}

impl Network {
    fn read(line: &Line) -> Result<Self> {
        let pattern = |text: &str| Regex::new(text).with_context(|| format!("pattern {text:?}"));
        Ok(Self {
            symbol: line.network,
            name: line.name,
            is_default: line.default,
            fee: amount(line.fee)?,
            min: amount(line.min)?,
            max: amount(line.max)?,
            multiple: amount(line.multiple)?,
            min_confirm: line.confirms,
            address: pattern(line.address)?,
            tag: (!line.tag.is_empty()).then(|| pattern(line.tag)).transpose()?,
        })
    }
}

/// Reads an amount of a table.
pub(crate) fn amount(text: &str) -> Result<Decimal> {
    Decimal::from_str_exact(text).with_context(|| format!("amount {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::World;

    #[test]
    fn every_coin_has_one_default_network_and_sane_limits() {
        let world = World::load().unwrap();
        for coin in &world.coins {
            let defaults = coin.networks.iter().filter(|n| n.is_default).count();
            assert_eq!(defaults, 1, "{}", coin.symbol);
            for network in &coin.networks {
                assert!(network.fee < network.min && network.min < network.max);
                assert!((network.min % network.multiple).is_zero());
            }
        }
    }

    #[test]
    fn addresses_of_one_network_do_not_fit_another() {
        let world = World::load().unwrap();
        let samples = [
            ("BTC", "BTC", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
            ("ETH", "ETH", "0x94df8b352de7f46f64b01d3666bf6e936e44ce60"),
            ("USDT", "TRX", "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf"),
            ("XRP", "XRP", "rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh"),
        ];
        for (coin, network, own) in samples {
            let network = world.network(coin, network).unwrap();
            for (_, _, address) in samples {
                assert_eq!(network.address.is_match(address), address == own);
            }
        }
    }
}
