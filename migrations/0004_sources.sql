-- Sources: where events come in beside the calls of the API; and the key
-- spaces of idempotency_keys, which a broker's coordinates share with the
-- clients' keys from here on.

-- +goose Up

CREATE TABLE sources (
    id          uuid PRIMARY KEY,
    project_id  uuid NOT NULL,
    name        text NOT NULL,
    type        text NOT NULL,
    -- Its name in the ingest URL; not to be guessed.
    mask_id     text NOT NULL,
    provider    text NOT NULL DEFAULT '',
    -- What is never searched and no secret: verifier, broker, mapping, response.
    settings    jsonb NOT NULL,
    -- The secrets of verifier and broker, sealed with the key ring.
    credentials bytea,
    disabled    boolean NOT NULL DEFAULT false,
    -- Counts the changes of what is connected to; part of the coordinates.
    revision    integer NOT NULL DEFAULT 1,
    -- Counts all changes.
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    -- Events outlive their source; the row stays for them.
    deleted_at  timestamptz,
    CONSTRAINT sources_name_given CHECK (name <> ''),
    CONSTRAINT sources_type_known CHECK (type IN ('http', 'rest_api', 'pub_sub')),
    CONSTRAINT sources_revision_positive CHECK (revision > 0),
    CONSTRAINT sources_version_positive CHECK (version > 0),
    CONSTRAINT sources_mask_unique UNIQUE (mask_id),
    CONSTRAINT sources_of_project FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT sources_once_per_project UNIQUE (project_id, id)
);

CREATE INDEX sources_live ON sources (project_id, id) WHERE deleted_at IS NULL;
-- What each agent asks for once a second, answered by the index alone.
CREATE INDEX sources_read ON sources (id) INCLUDE (version) WHERE type = 'pub_sub' AND NOT disabled AND deleted_at IS NULL;

-- With the project in it, so that no subscription crosses projects. Not valid
-- for the rows that are there: before there were sources a subscription could
-- name anything, and matched nothing by it.
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_source_in_project
    FOREIGN KEY (project_id, source_id) REFERENCES sources (project_id, id) NOT VALID;
CREATE INDEX subscriptions_source ON subscriptions (source_id) WHERE deleted_at IS NULL AND source_id IS NOT NULL;

-- What each agent last saw of the sources it reads: written every few seconds
-- and worth nothing after a crash, so it is not logged.
CREATE UNLOGGED TABLE source_states (
    source_id uuid NOT NULL,
    agent     text NOT NULL,
    health    text NOT NULL,
    error     text NOT NULL DEFAULT '',
    -- -1: the broker does not tell.
    lag       bigint NOT NULL,
    at        timestamptz NOT NULL,
    CONSTRAINT source_states_pkey PRIMARY KEY (source_id, agent),
    CONSTRAINT source_states_health_known CHECK (health IN ('healthy', 'connecting', 'unhealthy', 'disabled'))
) WITH (fillfactor = 50);

CREATE INDEX source_states_agent ON source_states (agent);

-- Each kind of key begins with its kind: client:<key>,
-- source:<source>:<key>, broker:<coordinates>.
UPDATE idempotency_keys SET key = 'client:' || key;

-- An event takes its keys all or none. Where another took one of two since the
-- statement began, it fails as PostgreSQL's own serialization failures do, and
-- is written again.
-- +goose StatementBegin
CREATE FUNCTION both_or_none(took_both boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF took_both IS NOT TRUE THEN
        RAISE EXCEPTION 'one of the two keys of an event was taken by another meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose Down

DROP FUNCTION both_or_none;

DELETE FROM idempotency_keys WHERE key NOT LIKE 'client:%';
UPDATE idempotency_keys SET key = substr(key, length('client:') + 1);
DROP TABLE source_states;
DROP INDEX subscriptions_source;
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_source_in_project;
DROP TABLE sources;
