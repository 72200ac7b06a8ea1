-- The demo world: what the simulator trades, and two users with money. Made again, it changes nothing.
INSERT INTO backstop.assets (asset, decimals)
VALUES ('BTC', 8), ('ETH', 18), ('USDT', 6), ('BNB', 8), ('XRP', 6)
ON CONFLICT DO NOTHING;

INSERT INTO backstop.networks (asset, network, venue, address_pattern, tag_pattern)
VALUES
    ('BTC', 'BTC', 'binance', '^(bc1[a-z0-9]{25,59}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})$', NULL),
    ('ETH', 'ETH', 'binance', '^0x[0-9A-Fa-f]{40}$', NULL),
    ('USDT', 'ETH', 'binance', '^0x[0-9A-Fa-f]{40}$', NULL),
    ('USDT', 'TRX', 'binance', '^T[1-9A-HJ-NP-Za-km-z]{33}$', NULL),
    ('BNB', 'BSC', 'binance', '^0x[0-9A-Fa-f]{40}$', NULL),
    ('XRP', 'XRP', 'binance', '^r[1-9A-HJ-NP-Za-km-z]{24,34}$', '^[0-9]{1,10}$')
ON CONFLICT DO NOTHING;

SELECT backstop.deposit_credit('binance', 'demo-' || owner || '-' || asset, owner, asset, amount)
  FROM (VALUES ('alice', 'BTC', 2), ('alice', 'USDT', 10000), ('bob', 'BTC', 0.5), ('bob', 'ETH', 20))
       AS demo (owner, asset, amount);
