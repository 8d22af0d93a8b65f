-- Every accepted event, once. A copy that got past the deduplication window (a client that sends again after a
-- restart of the collector, or to another one) has the same sorting key and goes away in a merge: read with FINAL,
-- or count distinct event ids, where that matters. A copy received in another month lies in another partition: no
-- merge takes it away, and only FINAL hides it.
CREATE TABLE IF NOT EXISTS events
(
    project_id UUID COMMENT 'Project whose key the request carried',
    source LowCardinality(String) COMMENT 'Who sent it: snippet (a page), sdk (a server)',
    type LowCardinality(String) COMMENT 'pageview, click, form_submit, or a name of the product''s own',
    event_id UUID COMMENT 'Id given by the client, else by the collector',
    visitor_id String COMMENT 'Anonymous id made by the snippet; empty if none',
    user_id String COMMENT 'Id that the product knows its user by; empty if none',
    url String COMMENT 'Where it happened, as sent; servers may send a path',
    referrer String COMMENT 'The page before, as sent; empty if none',
    data String COMMENT 'Properties, byte for byte as sent; {} if none' CODEC(ZSTD(1)),
    timestamp DateTime64(3, 'UTC') COMMENT 'When it happened, with a wrong client clock corrected',
    claimed_timestamp Nullable(DateTime64(3, 'UTC')) COMMENT 'The client''s own timestamp where timestamp differs from it, else NULL',
    sort_time DateTime64(3, 'UTC') COMMENT 'Part of the sorting key: the same each time an event is sent again',
    received_at DateTime64(3, 'UTC') COMMENT 'When the collector received it',
    address String COMMENT 'Client address, truncated; empty for servers',
    user_agent String COMMENT 'User agent, cut; empty for servers',
    browser LowCardinality(String) COMMENT 'Browser family; empty if unknown',
    browser_version LowCardinality(String) COMMENT 'Browser version; empty if unknown',
    os LowCardinality(String) COMMENT 'Operating system family; empty if unknown',
    device LowCardinality(String) COMMENT 'desktop, mobile or tablet; empty if unknown',
    bot Bool COMMENT 'The user agent is a known robot''s',
    properties JSON(max_dynamic_paths = 64)
        MATERIALIZED ifNull(accurateCastOrNull(data, 'JSON(max_dynamic_paths=64)'), CAST('{}', 'JSON(max_dynamic_paths=64)'))
        COMMENT 'data as typed columns: properties.plan.:String; {} where data holds what they cannot (1e400, a lone surrogate, an integer over 64 bits)',
    host LowCardinality(String)
        MATERIALIZED lower(extract(url, '^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#@]*@)?(\\[[^\\]/?#]*\\]|[^/?#:]*)'))
        COMMENT 'Host of url in lower case; empty where url is a path',
    path String
        MATERIALIZED if(
            host != '' AND extract(url, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*)?([^?#]*)') = '',
            '/',
            extract(url, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*)?([^?#]*)')
        )
        COMMENT 'Path of url, without query and fragment',
    utm_source LowCardinality(String) MATERIALIZED toValidUTF8(decodeURLFormComponent(extractURLParameter(url, 'utm_source'))) COMMENT 'From url, decoded; empty if none',
    utm_medium LowCardinality(String) MATERIALIZED toValidUTF8(decodeURLFormComponent(extractURLParameter(url, 'utm_medium'))) COMMENT 'From url, decoded; empty if none',
    utm_campaign LowCardinality(String) MATERIALIZED toValidUTF8(decodeURLFormComponent(extractURLParameter(url, 'utm_campaign'))) COMMENT 'From url, decoded; empty if none',
    utm_term String MATERIALIZED toValidUTF8(decodeURLFormComponent(extractURLParameter(url, 'utm_term'))) COMMENT 'From url, decoded; empty if none',
    utm_content String MATERIALIZED toValidUTF8(decodeURLFormComponent(extractURLParameter(url, 'utm_content'))) COMMENT 'From url, decoded; empty if none',
    INDEX by_timestamp timestamp TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
-- By receipt, not by the client's claim: an insert touches two months at most, whatever clients say.
PARTITION BY toYYYYMM(received_at)
ORDER BY (project_id, type, sort_time, event_id)
SETTINGS
    -- Tokens of the last inserts: enough for 4 collectors at 1 insert a second each and 40 minutes without an answer.
    non_replicated_deduplication_window = 10000,
    -- ClickHouse confirms from memory otherwise.
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
    -- Thousands of random property names make merges take gigabytes otherwise.
    object_shared_data_serialization_version = 'map',
    object_shared_data_serialization_version_for_zero_level_parts = 'map';
