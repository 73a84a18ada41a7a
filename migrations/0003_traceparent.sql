-- The trace that an event came in with, so that later tries and replays bear
-- it too. Nullable without a default: no row is rewritten, and NULL takes no
-- room in one.

-- +goose Up

ALTER TABLE events ADD COLUMN traceparent text;

-- +goose Down

ALTER TABLE events DROP COLUMN traceparent;
