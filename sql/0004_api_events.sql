-- What backends say of their events beyond what pages and SDKs do. Rows written before, and rows of older segments,
-- whose header does not name these columns, have them empty.
ALTER TABLE events
    ADD COLUMN IF NOT EXISTS api_source LowCardinality(String) COMMENT 'The backend''s own word for where the event comes from; empty unless source is api' AFTER bot,
    ADD COLUMN IF NOT EXISTS source_id String COMMENT 'Which of its kind that source is, in the backend''s own words; empty if none' AFTER api_source,
    ADD COLUMN IF NOT EXISTS metadata String COMMENT 'What the backend says about the event, a JSON object byte for byte as sent; empty if none' CODEC(ZSTD(1)) AFTER source_id,
    COMMENT COLUMN IF EXISTS source 'Who sent it: snippet (a page), sdk (a server), api (a backend with an API key)',
    COMMENT COLUMN IF EXISTS address 'Client address, truncated; empty for servers and backends',
    COMMENT COLUMN IF EXISTS user_agent 'User agent, cut; empty for servers, and for backends unless data says it';
