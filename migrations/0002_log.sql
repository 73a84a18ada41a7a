-- The log: events, matches, deliveries and facts, partitioned by the day in
-- the id of their event or delivery (UUIDv7). The days' partitions are made
-- by the janitor (store/partitions.go); the default ones catch what no one
-- foresaw. No foreign key leads out of here: each append pays for it.

-- +goose Up

CREATE TABLE events (
    id              uuid NOT NULL,
    project_id      uuid NOT NULL,
    source_id       uuid,
    type            text NOT NULL,
    -- Its audience: one endpoint, or the endpoints of one owner.
    endpoint_id     uuid,
    owner_id        text NOT NULL DEFAULT '',
    -- json, not jsonb: kept as given, and cheaper to take in.
    headers         json,
    idempotency_key text NOT NULL DEFAULT '',
    payload         bytea NOT NULL,
    stored_at       timestamptz NOT NULL DEFAULT now(),
    config_version  bigint NOT NULL,
    duplicate_of    uuid,
    CONSTRAINT events_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE INDEX events_project ON events (project_id, id);
-- The order of the log.
CREATE INDEX events_stored ON events (stored_at, id);

CREATE TABLE events_default PARTITION OF events DEFAULT;

CREATE TABLE matches (
    event_id       uuid NOT NULL,
    -- The zero id: no replay.
    replay_id      uuid NOT NULL,
    matched        integer NOT NULL,
    config_version bigint NOT NULL,
    stored_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT matches_pkey PRIMARY KEY (event_id, replay_id),
    CONSTRAINT matches_matched_counted CHECK (matched >= 0)
) PARTITION BY RANGE (event_id);

CREATE TABLE matches_default PARTITION OF matches DEFAULT;

CREATE TABLE deliveries (
    id              uuid NOT NULL,
    project_id      uuid NOT NULL,
    event_id        uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    -- NULL: the endpoint has no subscription at all.
    subscription_id uuid,
    -- The zero id: no replay.
    replay_id       uuid NOT NULL,
    event_type      text NOT NULL,
    -- The projection: the fold of the delivery's facts. What the fold calls
    -- waiting reads queued while the transport has it.
    status          text NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    facts           integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    held_for        text,
    last_outcome    text,
    last_code       integer,
    last_latency    bigint, -- nanoseconds
    -- The transport's own; never folded, never lowered.
    turn            integer NOT NULL,
    resent_turn     integer NOT NULL DEFAULT 0,
    queued_at       timestamptz,
    claimed_by      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT deliveries_status_known CHECK (status IN
        ('queued', 'waiting', 'held', 'delivered', 'given_up', 'cancelled', 'expired', 'dead')),
    CONSTRAINT deliveries_turn_positive CHECK (turn > 0)
) PARTITION BY RANGE (id);

CREATE INDEX deliveries_project ON deliveries (project_id, id);
CREATE INDEX deliveries_endpoint ON deliveries (endpoint_id, id);
-- What retry looks for: no time at all means at once.
CREATE INDEX deliveries_due ON deliveries (coalesce(next_attempt_at, '-infinity'::timestamptz)) WHERE status = 'waiting';
CREATE INDEX deliveries_held ON deliveries (endpoint_id, id) WHERE status = 'held';
-- One index for two questions: what an endpoint has in the transport's hands,
-- and (read as a whole, it is small) what the transport has had for too long.
CREATE INDEX deliveries_queued ON deliveries (endpoint_id, queued_at) WHERE status = 'queued';

-- Room in each page, so that a claim, which touches no index, stays in it.
CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT WITH (fillfactor = 75);

CREATE TABLE facts (
    delivery_id      uuid NOT NULL,
    id               uuid NOT NULL,
    turn             integer NOT NULL,
    kind             text NOT NULL,
    at               timestamptz NOT NULL,
    decided          text NOT NULL,
    next_attempt_at  timestamptz,
    reason           text,
    counted          boolean NOT NULL,
    -- Its place among those of its delivery that counted; NULL if it did not.
    number           integer,
    outcome          text,
    status_code      integer,
    error            text,
    url              text,
    method           text,
    ip               text,
    request_headers  json,
    response_headers json,
    body             bytea,
    started_at       timestamptz,
    latency          bigint, -- nanoseconds
    retry_after      bigint, -- nanoseconds
    stored_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT facts_pkey PRIMARY KEY (delivery_id, id),
    CONSTRAINT facts_kind_known CHECK (kind IN
        ('attempted', 'held', 'released', 'resent', 'cancelled', 'given_up', 'expired', 'dead')),
    CONSTRAINT facts_decided_known CHECK (decided IN
        ('waiting', 'held', 'delivered', 'given_up', 'cancelled', 'expired', 'dead')),
    CONSTRAINT facts_numbered_if_counted CHECK (counted = (number IS NOT NULL)),
    CONSTRAINT facts_attempt_has_outcome CHECK ((kind = 'attempted') = (outcome IS NOT NULL))
) PARTITION BY RANGE (delivery_id);

-- The order of the log, for tail; facts are appended in it, so this costs an
-- append next to nothing.
CREATE INDEX facts_stored ON facts USING brin (stored_at) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE facts_default PARTITION OF facts DEFAULT;

CREATE TABLE idempotency_keys (
    project_id uuid NOT NULL,
    key        text NOT NULL,
    event_id   uuid NOT NULL,
    -- SHA-256 over type, audience, headers and payload.
    body_hash  bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (project_id, key)
);

CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE TABLE held_endpoints (
    endpoint_id uuid NOT NULL,
    project_id  uuid NOT NULL,
    look_at     timestamptz NOT NULL,
    CONSTRAINT held_endpoints_pkey PRIMARY KEY (endpoint_id)
) WITH (fillfactor = 50);

CREATE INDEX held_endpoints_look ON held_endpoints (look_at);

CREATE TABLE replays (
    id         uuid NOT NULL,
    project_id uuid NOT NULL,
    event_id   uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT replays_pkey PRIMARY KEY (id)
);

CREATE INDEX replays_event ON replays (event_id, id);

CREATE TABLE dead_letters (
    id          uuid NOT NULL,
    -- NULL: it could not be told.
    project_id  uuid,
    stage       text NOT NULL,
    topic       text NOT NULL,
    reason      text NOT NULL,
    error       text NOT NULL,
    history     json NOT NULL,
    event_id    uuid,
    delivery_id uuid,
    raw         bytea NOT NULL,
    metadata    json NOT NULL,
    created_at  timestamptz NOT NULL,
    settled_at  timestamptz,
    settled     text,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id),
    CONSTRAINT dead_letters_settled_known CHECK (settled IN ('redriven', 'discarded')),
    CONSTRAINT dead_letters_settled_at_a_time CHECK ((settled IS NULL) = (settled_at IS NULL))
);

CREATE INDEX dead_letters_project ON dead_letters (project_id, id);
CREATE INDEX dead_letters_open_event ON dead_letters (event_id) WHERE settled_at IS NULL AND event_id IS NOT NULL;

CREATE TABLE checkpoints (
    name text NOT NULL,
    at   timestamptz NOT NULL,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (name)
);

-- +goose Down

DROP TABLE checkpoints;
DROP TABLE dead_letters;
DROP TABLE replays;
DROP TABLE held_endpoints;
DROP TABLE idempotency_keys;
DROP TABLE facts;
DROP TABLE deliveries;
DROP TABLE matches;
DROP TABLE events;
