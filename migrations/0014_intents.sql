-- Intents: what a strategy wants done at a venue.

SET LOCAL search_path = backstop, public;

INSERT INTO transitions (machine, state, event, next) VALUES
    ('intent', 'absent', 'open', 'waiting'),
    ('intent', 'absent', 'abandon', 'abandoned'),
    ('intent', 'waiting', 'claim', 'claimed'),
    ('intent', 'waiting', 'cancel', 'cancelled'),
    ('intent', 'waiting', 'fail', 'failed'),
    ('intent', 'claimed', 'finish', 'done'),
    ('intent', 'claimed', 'fail', 'failed'),
    ('intent', 'claimed', 'cancel', 'cancelled');
