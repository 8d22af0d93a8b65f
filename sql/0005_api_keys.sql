-- Secret keys of backends; read it with FINAL. A key itself is nowhere: it is found by its hash, and shown by its id.
CREATE TABLE IF NOT EXISTS api_keys
(
    key_hash String COMMENT 'SHA-256 of the key, in 64 hexadecimal digits',
    key_id UUID COMMENT 'What the key is called where it is shown',
    project_id UUID COMMENT 'The project that it sends for, as in events',
    name String COMMENT 'The project''s name when the key was made',
    scope LowCardinality(String) COMMENT 'What it may be used for: events or conversions',
    allowed_origins Array(String) COMMENT 'Origins that may send with it; empty: any',
    requests_per_minute UInt32 COMMENT 'Requests that it may make in a minute; 0: what the collector is set to',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the key was made',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'From when on it is refused; NULL: never',
    revoked Bool COMMENT 'true: it is refused',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was last changed; the latest counts'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY key_hash
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
