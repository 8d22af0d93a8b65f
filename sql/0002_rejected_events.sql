-- Events of known projects that were refused. Anyone can fill it, so its rows go after a month.
CREATE TABLE IF NOT EXISTS rejected_events
(
    received_at DateTime64(3, 'UTC') COMMENT 'When the collector received it',
    project_id UUID COMMENT 'Project whose key the request carried',
    source LowCardinality(String) COMMENT 'Who sent it, as in events',
    event String COMMENT 'The event as sent, cut to 4 KiB; may not even be text' CODEC(ZSTD(1)),
    reason LowCardinality(String) COMMENT 'Stable code of the reason',
    message String COMMENT 'What was wrong, where, and what was expected; never a value of the event'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (project_id, received_at)
TTL toDateTime(received_at) + INTERVAL 30 DAY
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
