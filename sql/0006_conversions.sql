-- What ad platforms are told of, once for each receipt. A copy that the collector wrote again after a crash has the
-- same sorting key and goes away in a merge: read with FINAL, or count distinct ids, where that matters.
CREATE TABLE IF NOT EXISTS conversions
(
    project_id UUID COMMENT 'Project whose key the request carried',
    integration LowCardinality(String) COMMENT 'Block of weir.toml that it goes to: project/platform, and a webhook''s name',
    platform LowCardinality(String) COMMENT 'Platform that it goes to, such as meta',
    conversion_id String COMMENT 'Id by which the platform knows a copy; the same on every attempt',
    event_type LowCardinality(String) COMMENT 'purchase, lead, or any other, in lower case',
    timestamp DateTime64(3, 'UTC') COMMENT 'When it happened',
    received_at DateTime64(3, 'UTC') COMMENT 'When the collector received it',
    email_sha256 String COMMENT 'SHA-256 of the address as its platform wants it normalised; empty if none',
    phone_sha256 String COMMENT 'SHA-256 of the number as its platform wants it normalised; empty if none',
    first_name_sha256 String COMMENT 'SHA-256 of the name as its platform wants it normalised; empty if none',
    last_name_sha256 String COMMENT 'SHA-256 of the name as its platform wants it normalised; empty if none',
    external_id String COMMENT 'The shop''s own id of who did it; empty if none',
    client_id String COMMENT 'Id that the platform''s script gave the browser; empty if none',
    address String COMMENT 'IP address of who did it; empty if none',
    user_agent String COMMENT 'User agent of who did it; empty if none',
    source_url String COMMENT 'Page on which it happened; empty if none',
    value Nullable(Float64) COMMENT 'What it is worth, in units of the currency; NULL if it was not said',
    currency LowCardinality(String) COMMENT 'ISO 4217; empty if none',
    order_id String COMMENT 'The shop''s own; empty if none',
    content_ids Array(String) COMMENT 'What it was for',
    content_name String COMMENT 'Name of what it was for; empty if none',
    content_type String COMMENT 'Kind of what it was for; empty if none',
    custom_data String COMMENT 'Every other member of customData, a JSON object' CODEC(ZSTD(1)),
    INDEX by_timestamp timestamp TYPE minmax GRANULARITY 1,
    INDEX by_conversion_id conversion_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (project_id, integration, received_at, conversion_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
-- What became of each, one row for each step. The last one: argMax(status, at) ... GROUP BY project_id, integration,
-- conversion_id, which reads in the order of the table. Two steps of a conversion never have the same moment.
CREATE TABLE IF NOT EXISTS conversion_deliveries
(
    project_id UUID COMMENT 'As in conversions',
    integration LowCardinality(String) COMMENT 'As in conversions',
    platform LowCardinality(String) COMMENT 'As in conversions',
    conversion_id String COMMENT 'As in conversions',
    delivery_id UUID COMMENT 'Id of this step; a copy of its row has the same',
    status LowCardinality(String) COMMENT 'queued, sent, retrying, paused, dead, consent_denied',
    attempt UInt32 COMMENT 'Which attempt it was, from 1; 0 where none was made',
    answer String COMMENT 'What the platform answered, or why it was not told; cut to 1 KiB' CODEC(ZSTD(1)),
    latency_ms UInt32 COMMENT 'How long the platform took to answer, in milliseconds; 0 where it was not asked',
    at DateTime64(3, 'UTC') COMMENT 'When it was'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (project_id, integration, conversion_id, at, delivery_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
