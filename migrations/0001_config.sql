-- What is configured: projects, their keys, endpoints and subscriptions.
-- Whatever changes one of them locks and raises the project's row first
-- (config_version) and leaves a row in audit.

-- +goose Up

CREATE TABLE projects (
    id             uuid PRIMARY KEY,
    name           text NOT NULL,
    type           text NOT NULL,
    config         jsonb NOT NULL,
    config_version bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    -- Events and facts outlive their project; the row stays for them.
    deleted_at     timestamptz,
    CONSTRAINT projects_name_given CHECK (name <> ''),
    CONSTRAINT projects_type_known CHECK (type IN ('outgoing', 'incoming')),
    CONSTRAINT projects_config_version_positive CHECK (config_version > 0)
);

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY,
    -- NULL: an instance key.
    project_id   uuid,
    name         text NOT NULL,
    -- The part that may be shown, and by which the row is found.
    prefix       text NOT NULL,
    -- HMAC-SHA256 of the whole key, under the ring's key of that id.
    hash         bytea NOT NULL,
    ring_key     text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_keys_prefix_unique UNIQUE (prefix),
    CONSTRAINT api_keys_hash_is_sha256 CHECK (octet_length(hash) = 32),
    CONSTRAINT api_keys_of_project FOREIGN KEY (project_id) REFERENCES projects (id)
);

CREATE INDEX api_keys_project ON api_keys (project_id, id);

CREATE TABLE endpoints (
    id          uuid PRIMARY KEY,
    project_id  uuid NOT NULL,
    name        text NOT NULL,
    url         text NOT NULL,
    owner_id    text NOT NULL DEFAULT '',
    status      text NOT NULL,
    -- What is never searched: method, timeout, strategy and the like.
    settings    jsonb NOT NULL,
    -- What proves us to the endpoint, sealed with the key ring.
    credentials bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,
    CONSTRAINT endpoints_name_given CHECK (name <> ''),
    CONSTRAINT endpoints_url_given CHECK (url <> ''),
    CONSTRAINT endpoints_status_known CHECK (status IN ('active', 'paused', 'inactive')),
    CONSTRAINT endpoints_of_project FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT endpoints_once_per_project UNIQUE (project_id, id)
);

CREATE INDEX endpoints_live ON endpoints (project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX endpoints_owner ON endpoints (project_id, owner_id, id) WHERE deleted_at IS NULL;

CREATE TABLE endpoint_secrets (
    id          uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL,
    -- secret: signs by HMAC; signing_key: signs by ed25519 (v1a).
    kind        text NOT NULL,
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    CONSTRAINT endpoint_secrets_kind_known CHECK (kind IN ('secret', 'signing_key')),
    CONSTRAINT endpoint_secrets_of_endpoint FOREIGN KEY (endpoint_id) REFERENCES endpoints (id)
);

CREATE INDEX endpoint_secrets_endpoint ON endpoint_secrets (endpoint_id, id);
CREATE UNIQUE INDEX endpoint_secrets_one_signing_key ON endpoint_secrets (endpoint_id) WHERE kind = 'signing_key';

CREATE TABLE subscriptions (
    id            uuid PRIMARY KEY,
    project_id    uuid NOT NULL,
    endpoint_id   uuid NOT NULL,
    -- NULL: events of any source.
    source_id     uuid,
    name          text NOT NULL,
    event_types   text[] NOT NULL,
    -- json, not jsonb: a filter is shown as it was given.
    filter        json NOT NULL,
    delivery_mode text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    deleted_at    timestamptz,
    CONSTRAINT subscriptions_name_given CHECK (name <> ''),
    CONSTRAINT subscriptions_of_project FOREIGN KEY (project_id) REFERENCES projects (id),
    -- With the project in it, so that no subscription crosses projects.
    CONSTRAINT subscriptions_endpoint_in_project FOREIGN KEY (project_id, endpoint_id) REFERENCES endpoints (project_id, id)
);

CREATE INDEX subscriptions_live ON subscriptions (project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX subscriptions_endpoint ON subscriptions (endpoint_id) WHERE deleted_at IS NULL;

CREATE TABLE audit (
    id         uuid PRIMARY KEY,
    -- NULL: a change to the instance.
    project_id uuid,
    at         timestamptz NOT NULL DEFAULT now(),
    -- Who: an API key's prefix, a command, or the gateway itself.
    actor      text NOT NULL,
    noun       text NOT NULL,
    noun_id    uuid NOT NULL,
    verb       text NOT NULL,
    -- Why, where it is not plain; never a secret.
    detail     text NOT NULL DEFAULT '',
    CONSTRAINT audit_of_project FOREIGN KEY (project_id) REFERENCES projects (id)
);

CREATE INDEX audit_project ON audit (project_id, id);

-- +goose Down

DROP TABLE audit;
DROP TABLE subscriptions;
DROP TABLE endpoint_secrets;
DROP TABLE endpoints;
DROP TABLE api_keys;
DROP TABLE projects;
