-- Public project keys; read it with FINAL. A project may have several: they share project_id and name.
CREATE TABLE IF NOT EXISTS project_keys
(
    key String COMMENT 'The public key that clients send: pk_live_…',
    project_id UUID COMMENT 'The project, as in events',
    name String COMMENT 'The project''s name',
    allowed_origins Array(String) COMMENT 'Origins that may send; empty: any',
    enabled Bool COMMENT 'false: requests with this key are refused',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the key was made',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was last changed; the latest counts'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY key
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
