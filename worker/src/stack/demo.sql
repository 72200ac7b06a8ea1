-- The demo world: what the simulator trades, and two users with money. Made again, it changes nothing.
INSERT INTO backstop.assets (asset, decimals, approval_threshold)
VALUES ('BTC', 8, 0.5), ('ETH', 18, 10), ('USDT', 6, 25000), ('BNB', 8, 50), ('XRP', 6, 10000)
ON CONFLICT DO NOTHING;

INSERT INTO backstop.networks (asset, network, venue, address_pattern, tag_pattern, deposit_min)
VALUES
    ('BTC', 'BTC', 'binance', '^(bc1[a-z0-9]{25,59}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})$', NULL, 0.0001),
    ('ETH', 'ETH', 'binance', '^0x[0-9A-Fa-f]{40}$', NULL, 0.001),
    ('USDT', 'ETH', 'binance', '^0x[0-9A-Fa-f]{40}$', NULL, 1),
    ('USDT', 'TRX', 'binance', '^T[1-9A-HJ-NP-Za-km-z]{33}$', NULL, 1),
    ('BNB', 'BSC', 'binance', '^0x[0-9A-Fa-f]{40}$', NULL, 0.001),
    ('XRP', 'XRP', 'binance', '^r[1-9A-HJ-NP-Za-km-z]{24,34}$', '^[0-9]{1,10}$', 0.1)
ON CONFLICT DO NOTHING;

SELECT backstop.deposit_credit('binance', 'demo-' || owner || '-' || asset, owner, asset, amount)
  FROM (VALUES ('alice', 'BTC', 2), ('alice', 'USDT', 10000), ('bob', 'BTC', 0.5), ('bob', 'ETH', 20))
       AS demo (owner, asset, amount);

INSERT INTO backstop.destinations (owner, asset, network, address, added_by)
VALUES
    ('alice', 'BTC', 'BTC', 'bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq', 'demo'),
    ('alice', 'USDT', 'ETH', '0x52908400098527886E0F7030069857D2E4169EE7', 'demo'),
    ('bob', 'BTC', 'BTC', 'bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq', 'demo'),
    ('bob', 'ETH', 'ETH', '0x52908400098527886E0F7030069857D2E4169EE7', 'demo')
ON CONFLICT DO NOTHING;

-- What the paper exchange holds at first, beside what comes in for alice and bob.
INSERT INTO backstop.house_positions (venue, asset, amount)
VALUES ('binance', 'BTC', 10), ('binance', 'ETH', 100), ('binance', 'USDT', 100000), ('binance', 'BNB', 500),
       ('binance', 'XRP', 50000)
ON CONFLICT DO NOTHING;

-- The paper exchange is called at most 20 times in a second, by all processes together.
INSERT INTO backstop.venues (venue, min_interval_ms) VALUES ('binance', 50) ON CONFLICT DO NOTHING;
